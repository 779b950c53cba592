//! Every option that is known, in one table: the loader, `config check` and docs/configuration.md all read this one.
//!
//! An option that means something here has a `Field`: the place in [`Settings`] that it sets, whose type says what is
//! accepted and whose built-in value is that of `Settings::default()`. An option of a predecessor that means nothing
//! here is known, checked and explained, but sets nothing.

use super::Settings;
use super::values::{Invalid, Kind, Value, boolean};

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The section, as the documentation writes it.
    pub section: &'static str,
    /// The option, in lower case.
    pub name: &'static str,
    /// What it does, in a sentence for the table of the documentation.
    pub meaning: &'static str,
    /// Which generation of the guest environment brought it.
    pub since: Since,
    /// Whether it has an effect.
    pub status: Status,
    slot: Slot,
}

/// The generation of the guest environment that brought an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// The Python daemons.
    Python,
    /// The first Go agent.
    Go1,
    /// The second Go agent, with its plugins.
    Go2,
    /// This program.
    GceGuest,
}

impl Since {
    /// The generation in a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Go1 => "Go",
            Self::Go2 => "Go, second",
            Self::GceGuest => "gce-guest",
        }
    }
}

/// Whether an option has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has.
    Effective,
    /// It has; something else is better.
    Deprecated(&'static str),
    /// It is accepted and means nothing here, for this reason.
    Nothing(&'static str),
}

/// What an option sets.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Field(Field),
    Nothing { kind: Kind, default: &'static str },
}

/// A place in [`Settings`], with its type erased.
#[derive(Clone, Copy, Debug)]
struct Field {
    kind: Kind,
    assign: fn(&mut Settings, &str) -> Result<(), Invalid>,
    render: fn(&Settings) -> String,
}

impl OptionSpec {
    /// The option as people name it: `Section.option`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// What kind of value it has.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.slot {
            Slot::Field(field) => field.kind,
            Slot::Nothing { kind, .. } => kind,
        }
    }

    /// The built-in value as text.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.slot {
            Slot::Field(field) => (field.render)(&Settings::default()),
            Slot::Nothing { default, .. } => default.to_owned(),
        }
    }

    /// Puts a value into the settings. An invalid one changes nothing; one without a meaning here is only checked.
    ///
    /// # Errors
    /// [`Invalid`] when the text is no value of the option's kind.
    pub fn assign(&self, settings: &mut Settings, text: &str) -> Result<(), Invalid> {
        match self.slot {
            Slot::Field(field) => (field.assign)(settings, text),
            Slot::Nothing { kind, .. } => kind.check(text),
        }
    }

    /// A value in the one way in which we write it: `Yes` is `true`.
    ///
    /// # Errors
    /// [`Invalid`] when the text is no value of the option's kind.
    pub fn canonical(&self, text: &str) -> Result<String, Invalid> {
        let mut settings = Settings::default();
        self.assign(&mut settings, text)?;
        let switch = match self.kind() {
            Kind::Boolean => boolean(text).map(|on| on.to_string()),
            _ => None,
        };
        Ok(self
            .render(&settings)
            .or(switch)
            .unwrap_or_else(|| text.to_owned()))
    }

    /// The value in the settings as text; `None` for an option without a meaning here.
    #[must_use]
    pub fn render(&self, settings: &Settings) -> Option<String> {
        match self.slot {
            Slot::Field(field) => Some((field.render)(settings)),
            Slot::Nothing { .. } => None,
        }
    }
}

/// The option of this section and name. Case does not count, as for the Go agents.
#[must_use]
pub fn find(section: &str, name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| {
        option.section.eq_ignore_ascii_case(section) && option.name.eq_ignore_ascii_case(name)
    })
}

/// The sections of the table, each once, in its order.
pub fn sections() -> impl Iterator<Item = &'static str> {
    OPTIONS
        .chunk_by(|one, next| one.section == next.section)
        .map(|options| options[0].section)
}

const fn kind_of<V: Value>(_: fn(&Settings) -> &V) -> Kind {
    V::KIND
}

/// An option that sets a field of the settings.
macro_rules! set {
    ($section:literal, $name:literal, $since:ident, $($field:ident).+, $meaning:literal) => {
        set!($section, $name, $since, $($field).+, Status::Effective, $meaning)
    };
    ($section:literal, $name:literal, $since:ident, $($field:ident).+, $status:expr, $meaning:literal) => {
        OptionSpec {
            section: $section,
            name: $name,
            meaning: $meaning,
            since: Since::$since,
            status: $status,
            slot: Slot::Field(Field {
                kind: kind_of(|settings| &settings.$($field).+),
                assign: |settings, text| settings.$($field).+.assign(text),
                render: |settings| settings.$($field).+.render(),
            }),
        }
    };
}

/// An option of a predecessor that means nothing here.
macro_rules! nothing {
    ($section:literal, $name:literal, $since:ident, $kind:expr, $default:literal, $meaning:literal, $why:expr) => {
        OptionSpec {
            section: $section,
            name: $name,
            meaning: $meaning,
            since: Since::$since,
            status: Status::Nothing($why),
            slot: Slot::Nothing {
                kind: $kind,
                default: $default,
            },
        }
    };
}

const WINDOWS: &str = "Windows only";
const NO_PLUGINS: &str = "one program, no plugins and no remote control";
const NO_CERTIFICATES: &str =
    "the metadata server is asked over plain HTTP on its link-local address";
const NO_SNAPSHOTS: &str = "there is no snapshot listener";
const NO_COMMANDS: &str = "there is no command socket";
const LOG_ELSEWHERE: &str = "lines go to the journal or syslog, and nowhere else";
const PORT: Kind = Kind::Integer { min: 0, max: 65535 };
const COUNT: Kind = Kind::Integer {
    min: 0,
    max: u32::MAX,
};

/// Every option that is known, by section and name.
#[rustfmt::skip]
pub static OPTIONS: &[OptionSpec] = &[
    nothing!("ACS", "channel_id", Go2, Kind::Text, "", "The control channel's id.", NO_PLUGINS),
    nothing!("ACS", "client_debug_logging", Go2, Kind::Boolean, "false", "Debug lines of the control channel.", NO_PLUGINS),
    nothing!("ACS", "endpoint", Go2, Kind::Text, "", "The control channel's endpoint.", NO_PLUGINS),
    nothing!("ACS", "host", Go2, Kind::Text, "", "The control channel's host.", NO_PLUGINS),
    set!("Accounts", "allow_root", GceGuest, accounts.allow_root, "`false` ignores keys for root in metadata."),
    set!("Accounts", "deprovision_remove", Python, accounts.deprovision_remove, "`true` makes deprovisioning a user destructive: the account goes with its home directory."),
    set!("Accounts", "gpasswd_add_cmd", Python, accounts.gpasswd_add_cmd, "Command to add a user to a group; `{user}`, `{group}`."),
    set!("Accounts", "gpasswd_remove_cmd", Python, accounts.gpasswd_remove_cmd, "Command to remove a user from a group; `{user}`, `{group}`."),
    set!("Accounts", "groupadd_cmd", Python, accounts.groupadd_cmd, "Command to create a group; `{group}`."),
    set!("Accounts", "groups", Python, accounts.groups, "Groups for newly provisioned users, comma separated; empty for none."),
    set!("Accounts", "ignore_users", GceGuest, accounts.ignore_users, "Users that are left alone whatever metadata says, comma separated."),
    set!("Accounts", "keep_own_keys", GceGuest, accounts.keep_own_keys, "`true` leaves a user's own key lines in place when the last Google key goes."),
    set!("Accounts", "reuse_homedir", Go1, accounts.reuse_homedir, "`true` recreates a user with the owner of an existing home directory."),
    set!("Accounts", "sudo", GceGuest, accounts.sudo, "Who joins google-sudoers: `all`, `none`, or user names, comma separated."),
    set!("Accounts", "sudoers_rule", GceGuest, accounts.sudoers_rule, "What google-sudoers may do: the sudoers rule after the group's name."),
    set!("Accounts", "useradd_cmd", Python, accounts.useradd_cmd, "Command to create a user; `{user}`."),
    set!("Accounts", "userdel_cmd", Python, accounts.userdel_cmd, "Command to delete a user; `{user}`."),
    set!("Accounts", "usermod_cmd", Python, accounts.usermod_cmd, "Command to set a user's groups; `{user}`, `{groups}`."),
    set!("Clock", "hwclock_fallback", GceGuest, clock.hwclock_fallback, "`true` runs `hwclock --hctosys` where the RTC cannot be read directly."),
    set!("Clock", "max_step", GceGuest, clock.max_step, "The largest step of the clock that is made, in seconds."),
    nothing!("Core", "acs_client", Go2, Kind::Boolean, "true", "The control channel.", NO_PLUGINS),
    nothing!("Core", "cloud_logging_enabled", Go1, Kind::Boolean, "true", "Copies log lines to Cloud Logging.", "nothing but the metadata server is ever connected to"),
    set!("Core", "console_level", GceGuest, core.console_level, "Which lines the serial console gets a copy of, where a unit asks for one with `--console`: `off`, `error`, `warning`, `info` or `debug` and what is worse."),
    nothing!("Core", "enable_local_plugins", Go2, Kind::Boolean, "true", "Reads plugin manifests from disk.", NO_PLUGINS),
    nothing!("Core", "log_file", Go2, Kind::Text, "", "One more log file.", LOG_ELSEWHERE),
    set!("Core", "log_level", Go2, core.log_level, "How much is logged: 0 errors, 1 warnings, 2 and 3 information, 4 and more debug."),
    nothing!("Core", "log_verbosity", Go2, COUNT, "0", "How much more debug lines say.", "`log_level = 4` is all there is"),
    nothing!("Core", "on_demand_plugins", Go2, Kind::Boolean, "true", "Lets the control plane install plugins.", NO_PLUGINS),
    set!("Daemons", "accounts_daemon", Python, daemons.accounts_daemon, "`false` disables accounts."),
    set!("Daemons", "clock_skew_daemon", Python, daemons.clock_skew_daemon, "`false` disables the clock."),
    set!("Daemons", "ip_forwarding_daemon", Python, daemons.ip_forwarding_daemon, Status::Deprecated("NetworkInterfaces.ip_forwarding"), "`false` skips IP forwarding."),
    set!("Daemons", "network_daemon", Python, daemons.network_daemon, "`false` disables the network."),
    set!("Hostname", "form", GceGuest, hostname.form, "Which part of the name in metadata is set: `short` or `fqdn`."),
    set!("Hostname", "manage_hosts", GceGuest, hostname.manage_hosts, "`false` never touches /etc/hosts."),
    set!("Hostname", "mode", GceGuest, hostname.mode, "Sets the host name from metadata: `off`, `transient` or `static`."),
    nothing!("Instance", "instance_id", Python, Kind::Text, "0", "The instance for which host keys were last generated.", "state, no setting; it is kept in its own file"),
    set!("Instance", "instance_id_dir", Go1, instance.instance_id_dir, "The file with the instance id, or the directory of its file `google_instance_id`."),
    set!("InstanceSetup", "host_key_dir", Go1, instance_setup.host_key_dir, "The directory of sshd's host keys."),
    set!("InstanceSetup", "host_key_types", Python, instance_setup.host_key_types, "Types of host keys to generate, comma separated."),
    set!("InstanceSetup", "network_enabled", Python, instance_setup.network_enabled, "`false` skips the steps of the set-up that need metadata."),
    set!("InstanceSetup", "network_timeout", GceGuest, instance_setup.network_timeout, "How long set-up waits for the metadata server, in seconds; 0 is without limit."),
    set!("InstanceSetup", "optimize_local_ssd", Python, instance_setup.optimize_local_ssd, Status::Effective, "`false` prevents optimizing for local SSD."),
    set!("InstanceSetup", "set_boto_config", Python, instance_setup.set_boto_config, "`false` skips setting up a boto configuration."),
    set!("InstanceSetup", "set_host_keys", Python, instance_setup.set_host_keys, "`false` skips generating host keys for a new instance."),
    set!("InstanceSetup", "set_multiqueue", Python, instance_setup.set_multiqueue, Status::Effective, "`false` skips the set-up of network queues."),
    set!("IpForwarding", "ethernet_proto_id", Python, ip_forwarding.ethernet_proto_id, "Protocol id that marks the routes of this program, a number."),
    set!("IpForwarding", "forwarded_ips", GceGuest, ip_forwarding.forwarded_ips, "`false` disables routes for forwarded addresses."),
    set!("IpForwarding", "forwarded_ips_except", GceGuest, ip_forwarding.forwarded_ips_except, "Interfaces without routes for forwarded addresses, by MAC address."),
    set!("IpForwarding", "ip_aliases", Python, ip_forwarding.ip_aliases, "`false` disables routes for alias ranges."),
    set!("IpForwarding", "ip_aliases_except", GceGuest, ip_forwarding.ip_aliases_except, "Interfaces without routes for alias ranges, by MAC address."),
    set!("IpForwarding", "target_instance_ips", Python, ip_forwarding.target_instance_ips, "`false` disables internal load balancing."),
    set!("IpForwarding", "target_instance_ips_except", GceGuest, ip_forwarding.target_instance_ips_except, "Interfaces without routes for target instances, by MAC address."),
    nothing!("MDS", "disable-https-mds-setup", Go1, Kind::Boolean, "true", "No client certificates for the metadata server.", NO_CERTIFICATES),
    nothing!("MDS", "enable-https-mds-native-cert-store", Go1, Kind::Boolean, "false", "Puts the certificates into the system's store.", NO_CERTIFICATES),
    nothing!("MWLID", "credential_refresh_minutes", Go2, COUNT, "10", "Minutes between refreshes of workload credentials.", NO_PLUGINS),
    nothing!("MWLID", "enabled", Go2, Kind::Boolean, "false", "Workload credentials.", NO_PLUGINS),
    nothing!("MWLID", "service_ip", Go2, Kind::Text, "169.254.169.254", "The address of the credentials service.", NO_PLUGINS),
    nothing!("MWLID", "service_port", Go2, PORT, "8083", "The port of the credentials service.", NO_PLUGINS),
    set!("MetadataScripts", "default_shell", Python, metadata_scripts.default_shell, "The shell that executes scripts without an interpreter line."),
    set!("MetadataScripts", "fail_on_error", GceGuest, metadata_scripts.fail_on_error, "`true` has the runner, and so its unit, fail when a script has failed."),
    set!("MetadataScripts", "normalize_crlf", GceGuest, metadata_scripts.normalize_crlf, "Takes the carriage return out of a script's `#!` line (`shebang`), out of every line (`all`), or out of none (`off`)."),
    set!("MetadataScripts", "report_status", GceGuest, metadata_scripts.report_status, "`true` writes each script's exit status into a guest attribute."),
    set!("MetadataScripts", "run_dir", Python, metadata_scripts.run_dir, "The base directory in which scripts are executed; empty for /run."),
    set!("MetadataScripts", "shutdown", Python, metadata_scripts.shutdown, "`false` disables shutdown scripts."),
    nothing!("MetadataScripts", "shutdown-windows", Go1, Kind::Boolean, "true", "Shutdown scripts on Windows.", WINDOWS),
    set!("MetadataScripts", "shutdown_timeout", GceGuest, metadata_scripts.shutdown_timeout, "How long a shutdown script may run, in seconds; 0 is without limit."),
    set!("MetadataScripts", "startup", Python, metadata_scripts.startup, "`false` disables startup scripts."),
    nothing!("MetadataScripts", "startup-windows", Go1, Kind::Boolean, "true", "Startup scripts on Windows.", WINDOWS),
    set!("MetadataScripts", "startup_once", GceGuest, metadata_scripts.startup_once, "`true` runs startup scripts once per instance and not at every boot."),
    set!("MetadataScripts", "startup_retries", GceGuest, metadata_scripts.startup_retries, "How often a failed startup script is started again."),
    set!("MetadataScripts", "startup_timeout", GceGuest, metadata_scripts.startup_timeout, "How long a startup script may run, in seconds; 0 is without limit."),
    nothing!("MetadataScripts", "sysprep_specialize", Go1, Kind::Boolean, "true", "Scripts of Windows' first set-up.", WINDOWS),
    set!("MetadataScripts", "wait_for_package_lock", GceGuest, metadata_scripts.wait_for_package_lock, "How long a startup script waits for the package manager's lock, in seconds; 0 does not wait."),
    nothing!("NetworkInterfaces", "dhclient_script", Python, Kind::Text, "/sbin/google-dhclient-script", "The script that dhclient runs on Enterprise Linux 6.", "only Enterprise Linux 6 needed it"),
    set!("NetworkInterfaces", "dhcp_command", Python, network_interfaces.dhcp_command, "Command that enables network interfaces, in place of what manages them."),
    set!("NetworkInterfaces", "ip_forwarding", Python, network_interfaces.ip_forwarding, "`false` skips IP forwarding."),
    set!("NetworkInterfaces", "manage_primary_nic", Go1, network_interfaces.manage_primary_nic, "`true` sets the primary interface up too."),
    set!("NetworkInterfaces", "restore_debian12_netplan_config", Go1, network_interfaces.restore_debian12_netplan_config, "`false` leaves Debian 12's netplan default away where the Go agent had removed it."),
    set!("NetworkInterfaces", "setup", Python, network_interfaces.setup, "`false` skips network interface set-up."),
    set!("NetworkInterfaces", "vlan_setup_enabled", Go1, network_interfaces.vlan_setup_enabled, "`true` sets up the VLAN interfaces in metadata."),
    set!("OSLogin", "cert_authentication", Go1, os_login.cert_authentication, Status::Effective, "`false` sets up no SSH certificates."),
    set!("OSLogin", "manage_nss", GceGuest, os_login.manage_nss, Status::Effective, "`false` never touches nsswitch.conf."),
    set!("OSLogin", "manage_pam", GceGuest, os_login.manage_pam, Status::Effective, "`false` never touches PAM."),
    set!("OSLogin", "manage_sshd", GceGuest, os_login.manage_sshd, Status::Effective, "`false` never touches the configuration of sshd."),
    nothing!("PluginConfig", "connection_type", Go2, Kind::Text, "", "How plugins are talked to.", NO_PLUGINS),
    nothing!("PluginConfig", "local_plugin_dir", Go2, Kind::Text, "/usr/lib/google/guest_agent", "Where plugins are.", NO_PLUGINS),
    nothing!("PluginConfig", "socket_connections_dir", Go2, Kind::Text, "/run/google-guest-agent/plugin-connections", "Where the sockets of plugins are.", NO_PLUGINS),
    nothing!("PluginConfig", "state_dir", Go2, Kind::Text, "/var/lib/google-guest-agent", "Where the state of plugins is.", NO_PLUGINS),
    nothing!("Routes", "enable_monitor", Go1, Kind::Boolean, "false", "Looks for lost routes now and then.", "a lost route is seen at once and put back"),
    nothing!("Routes", "monitor_interval", Go1, Kind::Text, "10s", "How often to look for lost routes.", "a lost route is seen at once and put back"),
    nothing!("Snapshots", "enabled", Go1, Kind::Boolean, "false", "Runs scripts around snapshots.", NO_SNAPSHOTS),
    nothing!("Snapshots", "snapshot_service_ip", Go1, Kind::Text, "169.254.169.254", "The address of the snapshot service.", NO_SNAPSHOTS),
    nothing!("Snapshots", "snapshot_service_port", Go1, PORT, "8081", "The port of the snapshot service.", NO_SNAPSHOTS),
    nothing!("Snapshots", "timeout_in_seconds", Go1, COUNT, "60", "How long a snapshot script may run.", NO_SNAPSHOTS),
    nothing!("Telemetry", "metric_collection_enabled", Go2, Kind::Boolean, "true", "Sends metrics to the control plane.", "nothing is ever sent to anybody"),
    set!("Unstable", "additional_aliases", Go2, unstable.additional_aliases, "More names for the machine in /etc/hosts, comma separated."),
    nothing!("Unstable", "command_monitor_enabled", Go1, Kind::Boolean, "false", "Opens a socket for commands.", NO_COMMANDS),
    nothing!("Unstable", "command_pipe_group", Go1, Kind::Text, "", "The group of the command socket.", NO_COMMANDS),
    nothing!("Unstable", "command_pipe_mode", Go1, Kind::Text, "0770", "The mode of the command socket.", NO_COMMANDS),
    nothing!("Unstable", "command_pipe_path", Go1, Kind::Text, "", "The path of the command socket.", NO_COMMANDS),
    nothing!("Unstable", "command_request_timeout", Go1, Kind::Text, "10s", "How long a command may take to arrive.", NO_COMMANDS),
    set!("Unstable", "fqdn_address_interface_index", Go2, unstable.fqdn_address_interface_index, "The interface whose address stands in /etc/hosts, counted from 0."),
    set!("Unstable", "fqdn_as_hostname", Go2, unstable.fqdn_as_hostname, Status::Deprecated("Hostname.form"), "`true` sets the full name."),
    set!("Unstable", "set_fqdn", Go2, unstable.set_fqdn, "`true` puts the full name into /etc/hosts."),
    set!("Unstable", "set_hostname", Go2, unstable.set_hostname, Status::Deprecated("Hostname.mode"), "`true` sets the host name."),
    nothing!("Unstable", "systemd_config_dir", Go1, Kind::Text, "/usr/lib/systemd/network", "Where files for systemd-networkd go.", "they go to /run/systemd/network, which ends with the boot"),
    nothing!("accountManager", "disable", Go1, Kind::Boolean, "false", "No accounts on Windows.", WINDOWS),
    set!("addressManager", "disable", Go1, address_manager.disable, "`true` disables interfaces and routes, `false` enables them whatever metadata says; empty leaves it to the metadata key disable-address-manager."),
    nothing!("diagnostics", "enable", Go1, Kind::Boolean, "false", "Uploads of diagnostics.", WINDOWS),
    nothing!("wsfc", "addresses", Go1, Kind::Text, "", "Addresses of a Windows cluster.", WINDOWS),
    nothing!("wsfc", "enable", Go1, Kind::Boolean, "false", "The agent of a Windows cluster.", WINDOWS),
    nothing!("wsfc", "port", Go1, PORT, "59998", "The port of a Windows cluster's agent.", WINDOWS),
];
