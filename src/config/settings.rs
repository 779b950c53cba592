//! Typed settings, with the built-in values as `Default` (spec/core.md 3.3, spec/beyond.md 2.2).
//!
//! One structure per section, one field per option that means something here; [`super::options`] connects each field
//! with its name, its meaning and its documentation.

use log::LevelFilter;

use super::values::{
    ConsoleLevel, HostnameForm, HostnameMode, MacAddress, NormalizeCrlf, SudoUsers,
};

pub use super::policy::Policy;

/// Every setting, effective.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[Accounts]`.
    pub accounts: Accounts,
    /// `[addressManager]`.
    pub address_manager: AddressManager,
    /// `[Clock]`.
    pub clock: Clock,
    /// `[Core]`.
    pub core: Core,
    /// `[Daemons]`.
    pub daemons: Daemons,
    /// `[Hostname]`.
    pub hostname: Hostname,
    /// `[Instance]`.
    pub instance: Instance,
    /// `[InstanceSetup]`.
    pub instance_setup: InstanceSetup,
    /// `[IpForwarding]`.
    pub ip_forwarding: IpForwarding,
    /// `[MetadataScripts]`.
    pub metadata_scripts: MetadataScripts,
    /// `[NetworkInterfaces]`.
    pub network_interfaces: NetworkInterfaces,
    /// `[OSLogin]`.
    pub os_login: OsLogin,
    /// `[Unstable]`.
    pub unstable: Unstable,
    /// `[Lock]`: what metadata may not change.
    pub policy: Policy,
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
    /// Users that are left alone, whatever metadata says.
    pub ignore_users: Vec<String>,
    /// Whether keys for `root` in metadata are honoured.
    pub allow_root: bool,
    /// Which provisioned users join `google-sudoers`.
    pub sudo: SudoUsers,
    /// What `google-sudoers` may do: the part of the sudoers rule after `%google-sudoers`.
    pub sudoers_rule: String,
    /// `true` leaves a user's own key lines when the last Google key goes.
    pub keep_own_keys: bool,
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
            ignore_users: Vec::new(),
            allow_root: true,
            sudo: SudoUsers::All,
            sudoers_rule: "ALL=(ALL:ALL) NOPASSWD:ALL".into(),
            keep_own_keys: false,
        }
    }
}

/// `[addressManager]`: the Go agents' switch for interfaces and routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressManager {
    /// Where it is set it beats the metadata key `disable-address-manager`.
    pub disable: Option<bool>,
}

/// `[Clock]`: how far the clock may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The largest step that we make ourselves, in seconds.
    pub max_step: u32,
    /// Runs `hwclock --hctosys` when the RTC cannot be read directly.
    pub hwclock_fallback: bool,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            max_step: 3600,
            hwclock_fallback: false,
        }
    }
}

/// `[Core]`: the agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// 0 error, 1 warning, 2 and 3 info, 4 debug.
    pub log_level: u8,
    /// The lowest level of which the serial console gets a copy, where it was asked for (`--console`).
    pub console_level: ConsoleLevel,
}

impl Core {
    /// The lowest level that is logged.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        match self.log_level {
            0 => LevelFilter::Error,
            1 => LevelFilter::Warn,
            2 | 3 => LevelFilter::Info,
            4.. => LevelFilter::Debug,
        }
    }

    /// The lowest level of which the serial console gets a copy.
    #[must_use]
    pub fn serial_level(&self) -> LevelFilter {
        match self.console_level {
            ConsoleLevel::Off => LevelFilter::Off,
            ConsoleLevel::Error => LevelFilter::Error,
            ConsoleLevel::Warning => LevelFilter::Warn,
            ConsoleLevel::Info => LevelFilter::Info,
            ConsoleLevel::Debug => LevelFilter::Debug,
        }
    }
}

impl Default for Core {
    fn default() -> Self {
        Self {
            log_level: 3,
            console_level: ConsoleLevel::Info,
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

/// `[Hostname]`: whether and how the host name follows metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname {
    /// Whether the name is set, and whether it outlives the boot.
    pub mode: HostnameMode,
    /// The first label or the whole name.
    pub form: HostnameForm,
    /// Whether the marked block in /etc/hosts is kept.
    pub manage_hosts: bool,
}

impl Default for Hostname {
    fn default() -> Self {
        Self {
            mode: HostnameMode::Off,
            form: HostnameForm::Short,
            manage_hosts: true,
        }
    }
}

/// `[Instance]`: where the instance id is kept. The id itself is state and no setting (`super::state`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The file with the id, or the directory in which it is called `google_instance_id` (spec/beyond.md D 2).
    pub instance_id_dir: String,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            instance_id_dir: "/etc/google_instance_id".into(),
        }
    }
}

/// `[InstanceSetup]`: the steps of the set-up at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSetup {
    /// Where host keys are.
    pub host_key_dir: String,
    /// The types of host keys to generate.
    pub host_key_types: Vec<String>,
    /// `false` skips every step that needs metadata.
    pub network_enabled: bool,
    /// How long set-up waits for the metadata server, in seconds; 0 is without limit.
    pub network_timeout: u32,
    /// `false` leaves local SSDs as they are.
    pub optimize_local_ssd: bool,
    /// `false` writes no /etc/boto.cfg.
    pub set_boto_config: bool,
    /// `false` generates no host keys.
    pub set_host_keys: bool,
    /// `false` leaves the queues of network devices as they are.
    pub set_multiqueue: bool,
}

impl Default for InstanceSetup {
    fn default() -> Self {
        Self {
            host_key_dir: "/etc/ssh".into(),
            host_key_types: ["ecdsa", "ed25519", "rsa"].map(String::from).to_vec(),
            network_enabled: true,
            network_timeout: 120,
            optimize_local_ssd: true,
            set_boto_config: true,
            set_host_keys: true,
            set_multiqueue: true,
        }
    }
}

/// `[IpForwarding]`: forwarded addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpForwarding {
    /// The routing protocol id that marks our routes.
    pub ethernet_proto_id: u8,
    /// Whether `forwardedIps` and `forwardedIpv6s` are routed.
    pub forwarded_ips: bool,
    /// Whether `ipAliases` are routed.
    pub ip_aliases: bool,
    /// Whether `targetInstanceIps` are routed.
    pub target_instance_ips: bool,
    /// Interfaces whose `forwardedIps` and `forwardedIpv6s` are not routed.
    pub forwarded_ips_except: Vec<MacAddress>,
    /// Interfaces whose `ipAliases` are not routed.
    pub ip_aliases_except: Vec<MacAddress>,
    /// Interfaces whose `targetInstanceIps` are not routed.
    pub target_instance_ips_except: Vec<MacAddress>,
}

impl Default for IpForwarding {
    fn default() -> Self {
        Self {
            ethernet_proto_id: 66,
            forwarded_ips: true,
            ip_aliases: true,
            target_instance_ips: true,
            forwarded_ips_except: Vec::new(),
            ip_aliases_except: Vec::new(),
            target_instance_ips_except: Vec::new(),
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
    /// Which carriage returns are taken out of a script before it runs.
    pub normalize_crlf: NormalizeCrlf,
    /// How long to wait for the package manager's lock before a startup script, in seconds; 0 does not wait.
    pub wait_for_package_lock: u32,
    /// How long a startup script may run, in seconds; 0 is without limit.
    pub startup_timeout: u32,
    /// How long a shutdown script may run, in seconds; 0 is without limit.
    pub shutdown_timeout: u32,
    /// `true` runs startup scripts once per instance id and not at every boot.
    pub startup_once: bool,
    /// How often a failed startup script is started again.
    pub startup_retries: u32,
    /// `true` writes each script's exit status into a guest attribute.
    pub report_status: bool,
    /// `true` has the runner, and so its unit, fail when a script has failed.
    pub fail_on_error: bool,
}

impl Default for MetadataScripts {
    fn default() -> Self {
        Self {
            startup: true,
            shutdown: true,
            run_dir: None,
            default_shell: "/bin/bash".into(),
            normalize_crlf: NormalizeCrlf::Shebang,
            wait_for_package_lock: 0,
            startup_timeout: 0,
            shutdown_timeout: 0,
            startup_once: false,
            startup_retries: 0,
            report_status: false,
            fail_on_error: false,
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
    /// `true` sets the primary interface up too.
    pub manage_primary_nic: bool,
    /// `true` puts Debian 12's own netplan file back where the Go agent removed it.
    pub restore_debian12_netplan_config: bool,
    /// `true` sets up the VLAN interfaces in metadata.
    pub vlan_setup_enabled: bool,
}

impl Default for NetworkInterfaces {
    fn default() -> Self {
        Self {
            setup: true,
            ip_forwarding: true,
            dhcp_command: None,
            manage_primary_nic: false,
            restore_debian12_netplan_config: true,
            vlan_setup_enabled: false,
        }
    }
}

/// `[OSLogin]`: what OS Login may change on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsLogin {
    /// `false` sets up no SSH certificates.
    pub cert_authentication: bool,
    /// `false` never touches the configuration of sshd.
    pub manage_sshd: bool,
    /// `false` never touches PAM.
    pub manage_pam: bool,
    /// `false` never touches nsswitch.conf.
    pub manage_nss: bool,
}

impl Default for OsLogin {
    fn default() -> Self {
        Self {
            cert_authentication: true,
            manage_sshd: true,
            manage_pam: true,
            manage_nss: true,
        }
    }
}

/// `[Unstable]`: the Go agent's options for the host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unstable {
    /// The Go agent's word for `Hostname.mode = static`.
    pub set_hostname: bool,
    /// Adds the full name to /etc/hosts.
    pub set_fqdn: bool,
    /// The Go agent's word for `Hostname.form = fqdn`.
    pub fqdn_as_hostname: bool,
    /// More names for the machine in /etc/hosts.
    pub additional_aliases: Vec<String>,
    /// The interface whose address goes into /etc/hosts, counted from 0 in the order of metadata.
    pub fqdn_address_interface_index: u32,
}
