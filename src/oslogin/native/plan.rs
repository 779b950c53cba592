//! What to change to set OS Login up or to take it back. Pure: the table of files of spec/beyond.md 6.1.

use super::edits::{self, Blocks};
use crate::config::settings;
use crate::metadata::Document;
use crate::metadata::attributes::effective_boolean;
use crate::system::order::{Map, Set};

/// What OS Login is to do, besides being on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// `enable-oslogin-2fa`: a second factor.
    pub(super) two_factor: bool,
    /// `enable-oslogin-sk`: only keys on security keys.
    pub(super) security_keys: bool,
    /// `enable-oslogin-certificates`: only certificates.
    pub(super) certificates: bool,
}

impl Features {
    /// Reads them of metadata.
    pub(super) fn of(document: &Document) -> Self {
        let is_on = |name| effective_boolean(document, name) == Some(true);
        Self {
            two_factor: is_on("enable-oslogin-2fa"),
            security_keys: is_on("enable-oslogin-sk"),
            certificates: is_on("enable-oslogin-certificates"),
        }
    }
}

/// A file that is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum File {
    Nsswitch,
    PamSshd,
    PamSu,
    GroupConf,
    Sudoers,
    TrustedCa,
    /// The last one: with it log-ins change.
    Sshd,
}

impl File {
    pub(super) const ALL: [Self; 7] = [
        Self::Nsswitch,
        Self::PamSshd,
        Self::PamSu,
        Self::GroupConf,
        Self::Sudoers,
        Self::TrustedCa,
        Self::Sshd,
    ];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Nsswitch => "/etc/nsswitch.conf",
            Self::PamSshd => "/etc/pam.d/sshd",
            Self::PamSu => "/etc/pam.d/su",
            Self::GroupConf => "/etc/security/group.conf",
            Self::Sudoers => "/etc/sudoers.d/google-oslogin",
            Self::TrustedCa => "/etc/ssh/oslogin_trustedca.pub",
            Self::Sshd => "/etc/ssh/sshd_config",
        }
    }

    /// Where distributions with an empty `/etc` keep the file until somebody changes it (spec/beyond.md 6.1).
    pub(super) fn vendor_path(self) -> Option<&'static str> {
        match self {
            Self::Nsswitch => Some("/usr/etc/nsswitch.conf"),
            Self::PamSshd => Some("/usr/lib/pam.d/sshd"),
            Self::GroupConf => Some("/usr/etc/security/group.conf"),
            Self::Sshd => Some("/usr/etc/ssh/sshd_config"),
            Self::PamSu | Self::Sudoers | Self::TrustedCa => None,
        }
    }

    /// The permissions of a file that is made new; one that is there keeps its own.
    pub(super) fn mode(self) -> u32 {
        match self {
            Self::Sudoers => 0o440,
            Self::TrustedCa => 0o600,
            _ => 0o644,
        }
    }
}

/// What there is of the OS Login package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    /// `libnss_oslogin.so.2`.
    pub(super) nss: bool,
    /// `pam_oslogin_login.so`.
    pub(super) pam_login: bool,
    /// `pam_oslogin_admin.so`, of older packages: without it in PAM their administrators get no sudo.
    pub(super) pam_admin: bool,
    /// The path of `google_authorized_keys`.
    pub(super) keys_command: Option<String>,
    /// The path of `google_authorized_keys_sk`.
    pub(super) security_keys_command: Option<String>,
    /// The path of `google_authorized_principals`.
    pub(super) principals_command: Option<String>,
}

/// The machine as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) package: Package,
    /// What the files say; those that are there.
    pub(super) files: Map<File, Vec<u8>>,
    /// What those say that only the distribution's own directory has.
    pub(super) vendor: Map<File, Vec<u8>>,
    /// Whether sudo reads rules from `/etc/sudoers.d`.
    pub(super) has_sudoers_directory: bool,
    /// Whether the directories of the package are there.
    pub(super) has_directories: bool,
    /// Whether sshd knows `Include`.
    pub(super) knows_include: bool,
    /// Whether services were to be told of changed files, and that did not come to its end.
    pub(super) reload_pending: bool,
}

impl Observed {
    fn current(&self, file: File) -> Option<&Vec<u8>> {
        self.files.get(&file).or_else(|| self.vendor.get(&file))
    }

    /// The authorities of certificates that are in place.
    pub(super) fn authorities(&self) -> Option<String> {
        let bytes = self.files.get(&File::TrustedCa)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Make the package's directories.
    pub(super) directories: bool,
    /// What the files shall say; `None` for a file that goes.
    pub(super) files: Map<File, Option<Vec<u8>>>,
    /// Tell the services.
    pub(super) reload: bool,
    /// Whether OS Login is in charge of log-ins once this is done.
    pub(super) active: bool,
    /// Why it cannot be, with what to do.
    pub(super) refused: Option<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        !self.directories && self.files.is_empty() && !self.reload
    }

    /// Nothing is changed, whatever the machine is like.
    pub(super) fn as_it_is(observed: &Observed) -> Self {
        let sshd = observed.current(File::Sshd);
        Self {
            active: sshd.is_some_and(|bytes| edits::sshd_asks(bytes)),
            ..Self::default()
        }
    }

    /// The files that it changes, for the log.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.files.keys().map(|file| file.path())
    }
}

/// Plans it. `wanted` is `None` where OS Login is to be off; `authorities` are the keys of the authorities for certificates,
/// `None` where they could not be asked for.
pub(super) fn plan(
    wanted: Option<Features>,
    settings: &settings::OsLogin,
    authorities: Option<&str>,
    observed: &Observed,
) -> Plan {
    if let Some(features) = wanted
        && let Some(reason) = obstacle(features, settings, observed)
    {
        // What is there of an earlier time must not go on half: it goes.
        let mut plan = change(None, settings, None, observed);
        plan.refused = Some(reason);
        return plan;
    }
    let is_lacking =
        |features| authorities.is_none() && needs_authorities(features, settings, observed);
    if wanted.is_some_and(is_lacking) {
        let mut plan = Plan::as_it_is(observed);
        plan.refused = Some(
            "the authorities of OS Login's certificates could not be read of the metadata server (oslogin/certificates)"
                .to_owned(),
        );
        return plan;
    }
    change(wanted, settings, authorities, observed)
}

/// Whether the keys of authorities are needed, since certificates are taken.
pub(super) fn needs_authorities(
    features: Features,
    settings: &settings::OsLogin,
    observed: &Observed,
) -> bool {
    settings.manage_sshd && certificates(features, settings, &observed.package).is_some()
}

/// What stands in the way of OS Login on this machine.
fn obstacle(
    features: Features,
    settings: &settings::OsLogin,
    observed: &Observed,
) -> Option<String> {
    let package = &observed.package;
    let is_certain = features.certificates && !features.security_keys;
    let missing = if !package.nss {
        Some("its name service module libnss_oslogin.so.2")
    } else if !package.pam_login {
        Some("its PAM module pam_oslogin_login.so")
    } else if features.security_keys && package.security_keys_command.is_none() {
        Some("its program google_authorized_keys_sk")
    } else if is_certain && package.principals_command.is_none() {
        Some(
            "its program google_authorized_principals, which certificates need (enable-oslogin-certificates)",
        )
    } else if !is_certain && !features.security_keys && package.keys_command.is_none() {
        Some("its program google_authorized_keys")
    } else {
        None
    };
    if let Some(missing) = missing {
        return Some(format!(
            "OS Login is asked for (enable-oslogin) and not installed: {missing} is missing. Keys in metadata go on working; \
             install the package google-compute-engine-oslogin"
        ));
    }
    if is_certain && !settings.cert_authentication {
        return Some(
            "OS Login is to take certificates only (enable-oslogin-certificates), and OSLogin.cert_authentication is false here. \
             Keys in metadata go on working"
                .to_owned(),
        );
    }
    let bytes = |file| observed.current(file).map_or(&[][..], Vec::as_slice);
    let lacking = if !settings.manage_nss && !edits::nsswitch_has_users(bytes(File::Nsswitch)) {
        Some("/etc/nsswitch.conf names no oslogin for passwd, and OSLogin.manage_nss is false")
    } else if !settings.manage_sshd && !edits::sshd_asks(bytes(File::Sshd)) {
        Some(
            "/etc/ssh/sshd_config does not ask google_authorized_keys, and OSLogin.manage_sshd is false",
        )
    } else if settings.manage_sshd && observed.current(File::Sshd).is_none() {
        Some("there is no /etc/ssh/sshd_config")
    } else if settings.manage_nss && observed.current(File::Nsswitch).is_none() {
        Some("there is no /etc/nsswitch.conf")
    } else {
        None
    };
    lacking.map(|lacking| {
        format!("OS Login is asked for (enable-oslogin) and cannot take over: {lacking}. Keys in metadata go on working")
    })
}

/// The changes of all files that may be changed.
fn change(
    wanted: Option<Features>,
    settings: &settings::OsLogin,
    authorities: Option<&str>,
    observed: &Observed,
) -> Plan {
    let always = [File::GroupConf, File::PamSshd, File::PamSu];
    let mut managed: Set<File> = always.into_iter().collect();
    managed.retain(|_| settings.manage_pam);
    managed.extend(settings.manage_nss.then_some(File::Nsswitch));
    managed.extend(settings.manage_sshd.then_some(File::Sshd));
    let mut files: Map<File, Option<Vec<u8>>> = Map::new();
    for file in managed {
        if let Some(bytes) = observed.current(file) {
            let wished = edit(file, bytes, wanted, settings, observed);
            if wished != *bytes {
                files.insert(file, Some(wished));
            }
        }
    }
    let certificates = wanted
        .and_then(|features| certificates(features, settings, &observed.package))
        .and(authorities);
    for (file, wished) in [
        (
            File::TrustedCa,
            certificates.filter(|_| settings.manage_sshd),
        ),
        (
            File::Sudoers,
            wanted.and(observed.has_sudoers_directory.then_some(SUDO_RULE)),
        ),
    ] {
        let found = observed.files.get(&file).map(Vec::as_slice);
        // A rule of somebody else's stays.
        let is_foreign =
            file == File::Sudoers && found.is_some_and(|found| found != SUDO_RULE.as_bytes());
        if found != wished.map(str::as_bytes) && !is_foreign {
            files.insert(file, wished.map(|text| text.as_bytes().to_vec()));
        }
    }
    Plan {
        directories: wanted.is_some() && !observed.has_directories,
        reload: !files.is_empty() || observed.reload_pending,
        files,
        active: wanted.is_some(),
        refused: None,
    }
}

/// The rule by which administrators of OS Login get sudo: the package writes a file for each of them.
const SUDO_RULE: &str = "#includedir /var/google-sudoers.d\n";

/// The program that says whose certificates count, where certificates are to be taken at all.
fn certificates<'a>(
    features: Features,
    settings: &settings::OsLogin,
    package: &'a Package,
) -> Option<&'a str> {
    let is_meant = settings.cert_authentication && !features.security_keys;
    package.principals_command.as_deref().filter(|_| is_meant)
}

/// A file as it shall be.
fn edit(
    file: File,
    bytes: &[u8],
    wanted: Option<Features>,
    settings: &settings::OsLogin,
    observed: &Observed,
) -> Vec<u8> {
    let clean = match file {
        File::Nsswitch if wanted.is_some() => return edits::nsswitch_with(bytes),
        File::Nsswitch => return edits::nsswitch_without(bytes),
        File::Sshd => edits::sshd_without_legacy(&edits::without_blocks(bytes)),
        _ => edits::pam_without_legacy(&edits::without_blocks(bytes)),
    };
    let Some(features) = wanted else {
        return clean;
    };
    let blocks = match file {
        File::Sshd => sshd_blocks(features, settings, observed, &clean),
        File::PamSshd => pam_blocks(features, &observed.package),
        File::GroupConf => Blocks {
            bottom: vec!["sshd;*;*;Al0000-2400;video".into()],
            ..Blocks::default()
        },
        _ => Blocks::default(),
    };
    edits::with_blocks(&clean, &blocks)
}

fn sshd_blocks(
    features: Features,
    settings: &settings::OsLogin,
    observed: &Observed,
    rest: &[u8],
) -> Blocks {
    let package = &observed.package;
    let mut top = Vec::new();
    if let Some(command) = certificates(features, settings, package) {
        top.extend([
            format!("TrustedUserCAKeys {}", File::TrustedCa.path()),
            format!("AuthorizedPrincipalsCommand {command} %u %k"),
            "AuthorizedPrincipalsCommandUser root".into(),
        ]);
    }
    let keys = match (features.security_keys, features.certificates) {
        (true, _) => &package.security_keys_command,
        (false, true) => &None,
        (false, false) => &package.keys_command,
    };
    if let Some(command) = keys {
        top.extend([
            format!("AuthorizedKeysCommand {command}"),
            "AuthorizedKeysCommandUser root".into(),
        ]);
    }
    // Behind a Match of the owner's, what follows would be for those only whom it means.
    let has_match = rest.split(|byte| *byte == b'\n').any(|line| {
        let line = line.trim_ascii_start();
        line.get(..5)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"match"))
    });
    let mut bottom = Vec::new();
    if observed.knows_include {
        bottom.extend(has_match.then(|| "Match all".to_owned()));
        bottom.push("Include /var/google-users.d/*".into());
    }
    if features.two_factor {
        top.extend([
            "AuthenticationMethods publickey,keyboard-interactive".into(),
            "ChallengeResponseAuthentication yes".into(),
        ]);
        // Service accounts have nobody to ask for a second factor.
        bottom.extend([
            "Match User sa_*".into(),
            "    AuthenticationMethods publickey".into(),
        ]);
    }
    Blocks { top, bottom }
}

fn pam_blocks(features: Features, package: &Package) -> Blocks {
    let mut top = Vec::new();
    if features.two_factor {
        let line = "auth       [success=done perm_denied=die default=ignore] pam_oslogin_login.so";
        top.push(line.to_owned());
    }
    top.push("auth       [default=ignore] pam_group.so".to_owned());
    let mut bottom = Vec::new();
    if package.pam_admin {
        bottom.extend([
            "account    [success=ok ignore=ignore default=die] pam_oslogin_login.so".to_owned(),
            "account    [success=ok default=ignore] pam_oslogin_admin.so".to_owned(),
        ]);
    }
    bottom.push("session    [success=ok default=ignore] pam_mkhomedir.so".to_owned());
    Blocks { top, bottom }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn package() -> Package {
        let program = |name: &str| Some(format!("/usr/bin/google_authorized_{name}"));
        Package {
            nss: true,
            pam_login: true,
            pam_admin: false,
            keys_command: program("keys"),
            security_keys_command: program("keys_sk"),
            principals_command: program("principals"),
        }
    }

    fn machine() -> Observed {
        let files = [
            (File::Nsswitch, "passwd: files systemd\nhosts: files\n"),
            (File::PamSshd, "@include common-auth"),
            (File::PamSu, "auth sufficient pam_rootok.so\n"),
            (File::GroupConf, ""),
            (
                File::Sshd,
                "Port 22\nMatch User x\n  PasswordAuthentication no\n",
            ),
        ];
        Observed {
            package: package(),
            files: files
                .into_iter()
                .map(|(file, text)| (file, text.into()))
                .collect(),
            has_sudoers_directory: true,
            knows_include: true,
            ..Observed::default()
        }
    }

    fn after(plan: &Plan, before: &Observed) -> Observed {
        let mut machine = before.clone();
        machine.has_directories |= plan.directories;
        for (file, contents) in &plan.files {
            match contents {
                Some(contents) => drop(machine.files.insert(*file, contents.clone())),
                None => drop(machine.files.remove(file)),
            }
        }
        machine
    }

    fn sshd_of(features: Features, settings: &settings::OsLogin) -> String {
        let plan = plan(Some(features), settings, Some("ca\n"), &machine());
        let bytes = plan.files[&File::Sshd].clone().unwrap();
        let lines = String::from_utf8(bytes).unwrap();
        let ours = lines
            .lines()
            .filter(|line| line.contains("uthorized") || line.contains("CAKeys"));
        ours.map(|line| line.split([' ', '/']).next_back().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn who_says_which_keys_count() {
        let all = settings::OsLogin::default();
        let no_certificates = settings::OsLogin {
            cert_authentication: false,
            ..all.clone()
        };
        let features = |security_keys, certificates| Features {
            security_keys,
            certificates,
            two_factor: false,
        };
        let authorities = "oslogin_trustedca.pub %k root";
        for (features, settings, expected) in [
            (
                features(false, false),
                &all,
                format!("{authorities} google_authorized_keys root"),
            ),
            (
                features(false, false),
                &no_certificates,
                "google_authorized_keys root".into(),
            ),
            (features(false, true), &all, authorities.into()),
            (
                features(true, true),
                &all,
                "google_authorized_keys_sk root".into(),
            ),
            (
                features(true, false),
                &no_certificates,
                "google_authorized_keys_sk root".into(),
            ),
        ] {
            assert_eq!(sshd_of(features, settings), expected, "{features:?}");
        }
    }

    #[test]
    fn an_sshd_that_does_not_know_include_gets_none() {
        let settings = settings::OsLogin::default();
        for two_factor in [false, true] {
            let old = Observed {
                knows_include: false,
                ..machine()
            };
            let features = Features {
                two_factor,
                ..Features::default()
            };
            let text = |machine: &Observed| {
                let plan = plan(Some(features), &settings, Some("ca\n"), machine);
                String::from_utf8(plan.files[&File::Sshd].clone()?).ok()
            };
            let (old, new) = (text(&old).unwrap(), text(&machine()).unwrap());
            let all = new.lines().filter(|line| {
                !line.contains("Include /var/google-users.d") && *line != "Match all"
            });
            let rest: Vec<&str> = old
                .lines()
                .filter(|line| !line.starts_with("####"))
                .collect();
            let expected: Vec<&str> = all.filter(|line| !line.starts_with("####")).collect();
            assert_eq!(rest, expected, "two factors: {two_factor}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_changed() {
        let (all, plain) = (settings::OsLogin::default(), Features::default());
        let mut cases: Vec<(Observed, Features, &str)> = Vec::new();
        for (take, features, told) in [
            (
                (|package: &mut Package| package.nss = false) as fn(&mut Package),
                plain,
                "libnss_oslogin.so.2",
            ),
            (
                |package| package.pam_login = false,
                plain,
                "pam_oslogin_login.so",
            ),
            (
                |package| package.keys_command = None,
                plain,
                "google_authorized_keys is",
            ),
            (
                |package| package.security_keys_command = None,
                Features {
                    security_keys: true,
                    ..plain
                },
                "google_authorized_keys_sk is",
            ),
            (
                |package| package.principals_command = None,
                Features {
                    certificates: true,
                    ..plain
                },
                "google_authorized_principals, which",
            ),
        ] {
            let mut lacking = machine();
            take(&mut lacking.package);
            cases.push((lacking, features, told));
        }
        let mut lacking = machine();
        lacking.files.remove(&File::Sshd);
        cases.push((lacking, plain, "no /etc/ssh/sshd_config"));
        for (machine, features, told) in cases {
            let plan = plan(Some(features), &all, Some("ca\n"), &machine);
            assert!(plan.is_empty() && !plan.active, "{told}");
            assert!(plan.refused.as_ref().unwrap().contains(told), "{plan:?}");
        }
        let lost = plan(Some(plain), &all, None, &machine());
        assert!(lost.is_empty() && lost.refused.unwrap().contains("authorities"));
    }

    prop_compose! {
        fn features()(two_factor in any::<bool>(), security_keys in any::<bool>(), certificates in any::<bool>()) -> Features {
            Features { two_factor, security_keys, certificates }
        }
    }

    proptest! {
        /// Whatever is switched in whatever order: once done there is nothing left to do, and off is as before.
        #[test]
        fn every_switch_converges_and_off_is_as_before(
            wanted in prop::collection::vec(prop::option::of(features()), 1..5),
            manage_pam in any::<bool>(),
            pam_admin in any::<bool>(),
        ) {
            let settings = settings::OsLogin { manage_pam, ..settings::OsLogin::default() };
            let mut before = machine();
            before.package.pam_admin = pam_admin;
            let mut machine = before.clone();
            for wanted in wanted.into_iter().chain([None]) {
                machine = after(&plan(wanted, &settings, Some("ca\n"), &machine), &machine);
                let again = plan(wanted, &settings, Some("ca\n"), &machine);
                prop_assert!(again.is_empty(), "{:?}", again);
                prop_assert_eq!(again.active, wanted.is_some());
            }
            prop_assert_eq!(machine.files, before.files);
        }
    }
}
