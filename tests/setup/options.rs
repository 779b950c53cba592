//! Every option of the set-up, off and on.

use std::fs;

use crate::support::vm::{Vm, contents};
use crate::support::{in_sandbox, run, text_of};
use crate::{INSTANCE, configure, fingerprints, image_host_keys, set_up};

#[test]
fn the_switches_of_the_set_up() {
    in_sandbox("options::the_switches_of_the_set_up", || {
        let vm = Vm::new();
        let before = image_host_keys();
        configure("[InstanceSetup]\nset_host_keys = false\nset_boto_config = false\n");
        let off = set_up();
        assert_eq!((off.status, off.result("host-keys")), (0, "skipped"));
        assert_eq!(
            (off.result("boto"), off.result("publish-host-keys")),
            ("skipped", "skipped")
        );
        assert_eq!(
            off.detail("boto"),
            "switched off by InstanceSetup.set_boto_config"
        );
        assert_eq!(fingerprints(), before);
        assert!(fs::metadata("/etc/boto.cfg").is_err());
        assert!(
            contents("/etc/default/instance_configs.cfg").contains("set_boto_config = false\n")
        );
        // The same by metadata, which the owner's file would overrule.
        configure("");
        let in_metadata = "[InstanceSetup]\nset_host_keys = false\nset_boto_config = no\n";
        vm.set("instance/attributes/google-instance-configs", in_metadata);
        let off = set_up();
        assert_eq!(
            (off.result("host-keys"), off.result("boto")),
            ("skipped", "skipped")
        );
        // What metadata said is known at the next boot before metadata is there.
        let kept = format!("/var/lib/gce-guest/instances/{INSTANCE}/metadata-config.json");
        assert!(contents(&kept).contains("set_host_keys = false"));
        vm.set("instance/attributes/google-instance-configs", "");
        configure("[InstanceSetup]\nhost_key_types = ed25519\n");
        let on = set_up();
        assert_eq!((on.status, on.result("boto")), (0, "done"));
        let after = fingerprints();
        assert!(before.iter().all(|(key_type, key)| after[key_type] != *key));
    });
}

#[test]
fn network_enabled_asks_nobody_when_it_is_off() {
    in_sandbox(
        "options::network_enabled_asks_nobody_when_it_is_off",
        || {
            let vm = Vm::new();
            let before = image_host_keys();
            configure("[InstanceSetup]\nnetwork_enabled = false\n");
            let off = set_up();
            assert_eq!(off.status, 0, "{}", off.log);
            for step in [
                "metadata",
                "missing-host-keys",
                "host-keys",
                "publish-host-keys",
                "boto",
            ] {
                assert_eq!(off.result(step), "skipped", "{step}");
            }
            assert_eq!(off.result("instance-configs"), "done");
            assert_eq!(fingerprints(), before);
            assert!(vm.live.requests().is_empty(), "nobody was asked");
            // Metadata cannot switch it off: it has been asked by then.
            configure("[InstanceSetup]\nset_host_keys = false\n");
            let in_metadata = "[InstanceSetup]\nnetwork_enabled = false\n";
            vm.set("instance/attributes/google-instance-configs", in_metadata);
            assert_eq!(set_up().result("boto"), "done");
            assert!(!vm.live.requests().is_empty());
        },
    );
}

#[test]
fn the_places_and_types_of_host_keys() {
    in_sandbox("options::the_places_and_types_of_host_keys", || {
        let _vm = Vm::new();
        let before = image_host_keys();
        fs::create_dir_all("/etc/keys").unwrap();
        fs::create_dir_all("/var/ids").unwrap();
        configure(
            "[InstanceSetup]\nhost_key_dir = /etc/keys\nhost_key_types = ed25519\n\
             [Instance]\ninstance_id_dir = /var/ids\n",
        );
        let ran = set_up();
        assert_eq!(ran.status, 0, "{}", ran.log);
        assert_eq!(fingerprints(), before, "/etc/ssh is not the place");
        let names = text_of(["ls", "-A", "/etc/keys"]);
        assert_eq!(names, "ssh_host_ed25519_key\nssh_host_ed25519_key.pub");
        assert_eq!(contents("/var/ids/google_instance_id").trim(), INSTANCE);
        assert_eq!(contents("/etc/google_instance_id"), "");
        // A file, as for one of the Go agents; it does not exist yet, and neither does its directory.
        configure(
            "[InstanceSetup]\nhost_key_dir = /etc/keys\nhost_key_types = ed25519\n[Instance]\ninstance_id_dir = /var/other/id\n",
        );
        run(["rm", "-r", "/var/ids", "/etc/default/instance_configs.cfg"]);
        assert_eq!(set_up().status, 0);
        assert_eq!(contents("/var/other/id").trim(), INSTANCE);
    });
}
