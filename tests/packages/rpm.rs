//! The RPM as dnf installs it.

use std::fs;
use std::path::Path;

use super::support::machine::on_root;
use super::support::{attempt, run, text_of};
use super::{LEGACY, build_packages, census, differences, in_root, package};

/// What Enterprise Linux itself has of what a program with a C library and a shell may need. A package that needs more than
/// that is installed by nobody.
fn base_specification() -> String {
    let c_library = (2..60).map(|minor| format!("libc.so.6(GLIBC_2.{minor})(64bit)"));
    let math_library = (2..60).map(|minor| format!("libm.so.6(GLIBC_2.{minor})(64bit)"));
    let others = [
        "/bin/bash",
        "/bin/sh",
        "/usr/bin/bash",
        "/usr/bin/sh",
        "/usr/sbin/useradd",
        "ld-linux-x86-64.so.2()(64bit)",
        "ld-linux-x86-64.so.2(GLIBC_2.3)(64bit)",
        "ld-linux-aarch64.so.1()(64bit)",
        "ld-linux-aarch64.so.1(GLIBC_2.17)(64bit)",
        "libc.so.6()(64bit)",
        "libc.so.6(GLIBC_2.2.5)(64bit)",
        "libc.so.6(GLIBC_2.3.2)(64bit)",
        "libc.so.6(GLIBC_2.3.4)(64bit)",
        "libgcc_s.so.1()(64bit)",
        "libgcc_s.so.1(GCC_3.0)(64bit)",
        "libgcc_s.so.1(GCC_3.3)(64bit)",
        "libgcc_s.so.1(GCC_3.3.1)(64bit)",
        "libgcc_s.so.1(GCC_4.2.0)(64bit)",
        "libm.so.6()(64bit)",
        "libm.so.6(GLIBC_2.2.5)(64bit)",
        "rtld(GNU_HASH)",
    ];
    let provides: String = others
        .map(str::to_owned)
        .into_iter()
        .chain(c_library)
        .chain(math_library)
        .map(|name| format!("Provides: {name}\n"))
        .collect();
    format!("{provides}%description\nx\n%files\n")
}

/// A package with the name and the ways of a predecessor for Enterprise Linux: a unit that bears the name of one of ours, a
/// changed file of configuration, and a script that switches its unit off when it goes.
const OLD_SPECIFICATION: &str = "\
%description
x
%install
mkdir -p %{buildroot}/usr/lib/systemd/system %{buildroot}/etc/sysctl.d %{buildroot}/usr/bin
printf '[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' > %{buildroot}/usr/lib/systemd/system/google-startup-scripts.service
cp %{buildroot}/usr/lib/systemd/system/google-startup-scripts.service %{buildroot}/usr/lib/systemd/system/google-shutdown-scripts.service
echo old > %{buildroot}/etc/sysctl.d/60-gce-network-security.conf
echo old > %{buildroot}/usr/bin/google_guest_agent
%files
/usr/lib/systemd/system/google-startup-scripts.service
/usr/lib/systemd/system/google-shutdown-scripts.service
%config(noreplace) /etc/sysctl.d/60-gce-network-security.conf
/usr/bin/google_guest_agent
%post
systemctl enable google-startup-scripts.service google-shutdown-scripts.service
%preun
if [ $1 -eq 0 ]; then systemctl disable google-startup-scripts.service google-shutdown-scripts.service; fi
";

/// What its images have besides: a package that cannot be without that one.
const DEPENDENT_SPECIFICATION: &str = "\
Requires: google-guest-agent
%description
x
%files
";

/// Builds a package without architecture and returns where it is. `specification` is what is not the same for all of them.
fn built(name: &str, specification: &str) -> String {
    let head = format!(
        "Name: {name}\nEpoch: 1\nVersion: 20240314.00\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n"
    );
    let directory = format!("/run/packages/{name}");
    fs::create_dir_all(&directory).unwrap();
    let file = format!("{directory}/{name}.spec");
    fs::write(&file, head + specification).unwrap();
    run([
        "rpmbuild",
        "-bb",
        "--quiet",
        "--define",
        &format!("_topdir {directory}"),
        "--define",
        &format!("_rpmdir {directory}"),
        &file,
    ]);
    let mut found = fs::read_dir(format!("{directory}/noarch")).unwrap();
    let path = found.next().unwrap().unwrap().path();
    path.to_str().unwrap().to_owned()
}

/// Has dnf do something with the packages of the machine in `root`; there are no others than those that are named.
fn dnf(root: &str, words: &[&str]) {
    let place = format!("--installroot={root}");
    let general = [
        "dnf",
        "--assumeyes",
        "--quiet",
        &place,
        "--releasever=9",
        "--disablerepo=*",
        "--nogpgcheck",
        "--setopt=reposdir=/run/packages/none",
        "--setopt=cachedir=/run/packages/cache",
    ];
    let output = attempt(general.iter().chain(words).copied());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    assert!(!said.contains("failed"), "{words:?}: {said}");
}

/// The names of the packages on the machine in `root`.
fn installed(root: &str) -> Vec<String> {
    let names = text_of(["rpm", "--root", root, "-qa", "--qf", "%{NAME}\n"]);
    let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn the_rpm_takes_the_predecessors_place_and_goes_again() {
    build_packages();
    on_root(
        "rpm::the_rpm_takes_the_predecessors_place_and_goes_again",
        |root| {
            let here = root.to_str().unwrap();
            // What the root directory has is not in the database of rpm.
            let base = built("base", &base_specification());
            let old = built("google-guest-agent", OLD_SPECIFICATION);
            let dependent = built("google-compute-engine", DEPENDENT_SPECIFICATION);
            dnf(here, &["install", &base, &old, &dependent]);
            let enabled = root.join("etc/systemd/system/multi-user.target.wants");
            // The owner changed a setting, and wants no startup scripts.
            let setting = root.join("etc/sysctl.d/60-gce-network-security.conf");
            fs::write(&setting, "mine").unwrap();
            in_root(
                root,
                &["systemctl", "disable", "google-startup-scripts.service"],
            );
            let census_before = census(root);
            let new = package("rpm");
            dnf(here, &["install", new.to_str().unwrap()]);
            for name in LEGACY {
                let link = root.join("usr/bin").join(name);
                assert_eq!(fs::read_link(link).unwrap(), Path::new("gce-guest"));
            }
            assert_eq!(installed(here), ["base", "gce-guest"]);
            dnf(here, &["check"]);
            assert_eq!(fs::read_to_string(&setting).unwrap(), "mine");
            assert!(enabled.join("google-shutdown-scripts.service").is_symlink());
            assert!(!enabled.join("google-startup-scripts.service").is_symlink());
            // All is as packed but for the owner's setting.
            let verified = attempt(["rpm", "--root", here, "-V", "gce-guest"]);
            let changed = String::from_utf8_lossy(&verified.stdout).into_owned();
            assert_eq!(changed.lines().count(), 1, "{changed}");
            assert!(!root.join("var/lib/rpm-state/gce-guest").exists());
            dnf(here, &["reinstall", new.to_str().unwrap()]);
            assert!(enabled.join("google-shutdown-scripts.service").is_symlink());
            assert!(
                !enabled.join("google-startup-scripts.service").is_symlink(),
                "still off"
            );
            dnf(here, &["remove", "gce-guest"]);
            assert_eq!(installed(here), ["base"]);
            assert!(!enabled.join("google-shutdown-scripts.service").exists());
            let foreign: Vec<String> = differences(&census_before, &census(root))
                .into_iter()
                .filter(|path| root.join(&path[1..]).is_file())
                .filter(|path| !path.contains("rpm/") && !path.contains(".rpmdb"))
                .filter(|path| !path.starts_with("/var/lib/dnf/"))
                .filter(|path| !path.starts_with("/etc/sysctl.d/60-gce-network-security.conf"))
                .collect();
            assert!(foreign.is_empty(), "{foreign:?}");
            let saved = format!("{}.rpmsave", setting.display());
            assert_eq!(fs::read_to_string(saved).unwrap(), "mine");
        },
    );
}
