//! What an image must not carry, and what is somebody else's.

use std::fs;

use crate::support::vm::{Vm, contents, entry, passwd};
use crate::support::{PROGRAM, attempt, in_sandbox, run, text_of};
use crate::{configure, fingerprints, image_host_keys, set_up};

const QUICK: &str = "[InstanceSetup]\nhost_key_types = ecdsa\n";

/// Every file that an image must not carry.
fn traces() -> String {
    let places = "/etc/google_instance_id /var/lib/google /var/lib/gce-guest /etc/ssh/ssh_host_*";
    text_of([
        "sh",
        "-c",
        &format!("find {places} -type f 2>/dev/null | sort"),
    ])
}

#[test]
fn an_image_is_cleaned_of_what_belongs_to_an_instance() {
    in_sandbox(
        "image::an_image_is_cleaned_of_what_belongs_to_an_instance",
        || {
            let vm = Vm::new();
            image_host_keys();
            configure(QUICK);
            vm.set_keys(&[entry("alice")]);
            run([PROGRAM, "accounts", "sync"]);
            assert_eq!(set_up().status, 0);
            fs::write("/var/lib/google/startup_scripts_instance_id", "1\n").unwrap();
            let before = traces();
            assert!(
                before.contains("google_users") && before.contains("ssh_host_ecdsa_key"),
                "{before}"
            );
            let dry = text_of([PROGRAM, "image-clean", "--dry-run"]);
            assert_eq!(traces(), before, "nothing has changed");
            let clean = text_of([PROGRAM, "image-clean"]);
            assert_eq!(dry.replace("would remove", "removed"), clean);
            assert_eq!(traces(), "");
            assert!(contents("/etc/default/instance_configs.cfg").contains("instance_id = 0\n"));
            for path in before.lines().filter(|path| !path.contains("/instances/")) {
                assert!(clean.contains(path), "{path} is not told:\n{clean}");
            }
            assert!(passwd("alice").starts_with("alice:"), "accounts stay");
            assert_eq!(
                text_of([PROGRAM, "image-clean"]),
                "There is nothing to remove."
            );
            // A machine of this image is set up like a new one.
            vm.set("instance/id", 9);
            let clone = set_up();
            assert_eq!(
                (clone.status, clone.result("missing-host-keys")),
                (0, "done")
            );
            assert_eq!(fingerprints().len(), 1);
        },
    );
}

#[test]
fn host_keys_that_nobody_here_would_make_again_stay_in_an_image() {
    in_sandbox(
        "image::host_keys_that_nobody_here_would_make_again_stay_in_an_image",
        || {
            let before = image_host_keys();
            for option in ["set_host_keys", "network_enabled"] {
                configure(&format!("[InstanceSetup]\n{option} = false\n"));
                let said = text_of([PROGRAM, "image-clean"]);
                assert!(
                    said.contains(&format!("InstanceSetup.{option} is off")),
                    "{said}"
                );
                assert_eq!(fingerprints(), before);
            }
        },
    );
}

#[test]
fn boto_gets_the_project_and_a_file_of_somebody_else_stays() {
    in_sandbox(
        "image::boto_gets_the_project_and_a_file_of_somebody_else_stays",
        || {
            let vm = Vm::new();
            configure("[InstanceSetup]\nset_host_keys = false\n");
            fs::write("/etc/boto.cfg.template", "[Boto]\nproxy = proxy.example\n").unwrap();
            assert_eq!(set_up().result("boto"), "done");
            // The reader that boto itself uses.
            let read = |section: &str, option: &str| {
                let script = format!(
                    "import configparser; c = configparser.ConfigParser(); c.read('/etc/boto.cfg'); print(c['{section}']['{option}'])"
                );
                text_of(["python3", "-c", &script])
            };
            assert_eq!(read("GSUtil", "default_project_id"), "example-project");
            assert_eq!(read("GSUtil", "default_api_version"), "2");
            assert_eq!(read("GoogleCompute", "service_account"), "default");
            assert_eq!(read("Boto", "proxy"), "proxy.example");
            assert_eq!(set_up().result("boto"), "unchanged");
            // Credentials in the template are nobody else's to read, be the file there or not.
            run(["chmod", "600", "/etc/boto.cfg.template"]);
            let mode = || text_of(["stat", "-c", "%a", "/etc/boto.cfg"]);
            assert_eq!((set_up().result("boto"), mode().as_str()), ("done", "600"));
            fs::remove_file("/etc/boto.cfg").unwrap();
            assert_eq!((set_up().result("boto"), mode().as_str()), ("done", "600"));
            assert_eq!(set_up().result("boto"), "unchanged");
            vm.set("project/projectId", "other-project");
            assert_eq!(
                set_up().result("boto"),
                "done",
                "a clone in another project"
            );
            assert_eq!(read("GSUtil", "default_project_id"), "other-project");
            let mine = "[Credentials]\ngs_oauth2_refresh_token = mine\n";
            fs::write("/etc/boto.cfg", mine).unwrap();
            let left = set_up();
            assert_eq!((left.status, left.result("boto")), (0, "unchanged"));
            assert!(
                left.detail("boto").contains("somebody else's"),
                "{}",
                left.detail("boto")
            );
            assert_eq!(contents("/etc/boto.cfg"), mine);
            fs::remove_file("/etc/boto.cfg").unwrap();
            std::os::unix::fs::symlink("/etc/passwd", "/etc/boto.cfg").unwrap();
            let before = contents("/etc/passwd");
            assert_eq!(set_up().result("boto"), "unchanged");
            assert_eq!(contents("/etc/passwd"), before);
            assert!(attempt(["test", "-L", "/etc/boto.cfg"]).status.success());
        },
    );
}
