//! Typed settings, with the built-in values as `Default` (spec/core.md 3.3, spec/beyond.md 2.2).

/// Every setting, effective.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[Accounts]`.
    pub accounts: Accounts,
    /// `[Daemons]`.
    pub daemons: Daemons,
    /// `[IpForwarding]`.
    pub ip_forwarding: IpForwarding,
    /// `[MetadataScripts]`.
    pub metadata_scripts: MetadataScripts,
    /// `[NetworkInterfaces]`.
    pub network_interfaces: NetworkInterfaces,
}

/// `[Accounts]`: how users are provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// `true` deletes an account that we created when its last key leaves metadata.
    pub deprovision_remove: bool,
    /// Supplementary groups of newly created users.
    pub groups: Vec<String>,
    /// Creates a user; `{user}`.
    pub useradd_cmd: String,
    /// Deletes a user; `{user}`.
    pub userdel_cmd: String,
    /// Sets supplementary groups; `{user}`, `{groups}`.
    pub usermod_cmd: String,
    /// Creates a group; `{group}`.
    pub groupadd_cmd: String,
    /// Adds a user to a group; `{user}`, `{group}`.
    pub gpasswd_add_cmd: String,
    /// Removes a user from a group; `{user}`, `{group}`.
    pub gpasswd_remove_cmd: String,
    /// Recreates a user with the owner of an existing home directory.
    pub reuse_homedir: bool,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            deprovision_remove: false,
            groups: ["adm", "dip", "docker", "lxd", "plugdev", "video"]
                .map(String::from)
                .to_vec(),
            useradd_cmd: "useradd -m -s /bin/bash -p * {user}".into(),
            userdel_cmd: "userdel -r {user}".into(),
            usermod_cmd: "usermod -G {groups} {user}".into(),
            groupadd_cmd: "groupadd {group}".into(),
            gpasswd_add_cmd: "gpasswd -a {user} {group}".into(),
            gpasswd_remove_cmd: "gpasswd -d {user} {group}".into(),
            reuse_homedir: false,
        }
    }
}

/// `[Daemons]`: which managers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemons {
    /// `false` switches accounts off.
    pub accounts_daemon: bool,
    /// `false` switches the clock off.
    pub clock_skew_daemon: bool,
    /// `false` switches the network off.
    pub network_daemon: bool,
    /// Deprecated; `false` switches forwarded addresses off.
    pub ip_forwarding_daemon: bool,
}

impl Default for Daemons {
    fn default() -> Self {
        Self {
            accounts_daemon: true,
            clock_skew_daemon: true,
            network_daemon: true,
            ip_forwarding_daemon: true,
        }
    }
}

/// `[IpForwarding]`: forwarded addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpForwarding {
    /// The routing protocol id that marks our routes.
    pub ethernet_proto_id: u8,
    /// Whether `ipAliases` are routed.
    pub ip_aliases: bool,
    /// Whether `targetInstanceIps` are routed.
    pub target_instance_ips: bool,
}

impl Default for IpForwarding {
    fn default() -> Self {
        Self {
            ethernet_proto_id: 66,
            ip_aliases: true,
            target_instance_ips: true,
        }
    }
}

/// `[MetadataScripts]`: the owner's scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataScripts {
    /// `false` switches startup scripts off.
    pub startup: bool,
    /// `false` switches shutdown scripts off.
    pub shutdown: bool,
    /// Where the private directory is made; `None` for /run.
    pub run_dir: Option<String>,
    /// The shell for scripts without an interpreter line.
    pub default_shell: String,
}

impl Default for MetadataScripts {
    fn default() -> Self {
        Self {
            startup: true,
            shutdown: true,
            run_dir: None,
            default_shell: "/bin/bash".into(),
        }
    }
}

/// `[NetworkInterfaces]`: interface set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterfaces {
    /// `false` switches interface set-up off.
    pub setup: bool,
    /// `false` switches forwarded addresses off.
    pub ip_forwarding: bool,
    /// Replaces the interface set-up of the distribution.
    pub dhcp_command: Option<String>,
}

impl Default for NetworkInterfaces {
    fn default() -> Self {
        Self {
            setup: true,
            ip_forwarding: true,
            dhcp_command: None,
        }
    }
}
