//! Creating many local users at once: what one `useradd -m` each would do, in one step under the same lock.
//!
//! useradd(8) rewrites six files with their backups for every user, and asks the disk to flush twenty times. For thousands
//! of users that is quadratic work and minutes. Here the files are read once, every addition is worked out as useradd
//! would make it, and each file is replaced once. docs/accounts.md has the measurements.
//!
//! It is for plain machines only. Whatever is not understood, in the files, in the settings or in the machine's set-up, is
//! [`Unsuitable`], and nothing has happened then: the caller runs useradd for each user.
//!
//! The order of writing makes an interruption harmless at every point. The entry in passwd, which alone makes a user exist,
//! comes last; before it there are only ranges, groups and shadow lines of users that do not exist. A repeated call takes
//! those over. The home comes after: see [`AccountsDatabase::make_home`].

mod additions;
mod defaults;
mod home;
mod lock;
mod suitability;
mod tables;
mod useradd;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Stat;
use thiserror::Error;

use self::additions::{Additions, Question, Tables, additions, new_group};
use self::defaults::Defaults;
use self::home::Skeleton;
use self::lock::PasswordLock;
use self::tables::{Lines, Table};
pub use self::useradd::UseraddSettings;
use super::files::{Attributes, Directory};
use super::locks::LockError;
use super::name_service::NameService;
use super::processes::{self, Invocation};
use crate::system::order::{Map, Set};

/// The directory of the files.
const ETC: &str = "/etc";

/// The largest of the files that is read, in bytes.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// How long a lock that somebody else holds is waited for; lckpwdf(3) waits 15 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// A user to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// The login name.
    pub name: String,
    /// The login shell.
    pub shell: String,
    /// Supplementary groups, which must be local ones.
    pub groups: Vec<String>,
}

/// What became of a new user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub uid: u32,
    /// The id of the user's own group.
    pub gid: u32,
    /// The home directory, which is still to be made.
    pub home: PathBuf,
}

/// What one call created.
#[derive(Debug, Default)]
pub struct Created {
    /// The new users, all in passwd now.
    pub accounts: Map<String, Account>,
    /// Users that are left to useradd: a group or a home of the name is there already, or not every useradd takes it.
    pub left: Set<String>,
    /// Users that are not created, since the name service could not be asked, and why. So useradd would wait in vain.
    pub unasked: Option<(Set<String>, io::Error)>,
}

/// Why the machine is left to useradd. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unsuitable(String);

impl Unsuitable {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Why users were not created.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The machine is left to useradd.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// Somebody else holds the lock of the files. So useradd would fail as well.
    #[error(transparent)]
    Locked(LockError),
    /// A file could not be read or written.
    #[error("cannot write {}: {source}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// Whether a file before it was written, so that a repeated call has leftovers to take over.
        begun: bool,
        /// What the system said.
        source: io::Error,
    },
}

/// The local files of users and groups with the settings for new ones.
#[derive(Debug)]
pub struct AccountsDatabase {
    defaults: Defaults,
    skeleton: Skeleton,
    homes: Directory,
    mail_group: Option<u32>,
}

/// A file as it was read.
struct Present {
    table: Table,
    bytes: Vec<u8>,
    status: Stat,
}

impl AccountsDatabase {
    /// Reads the settings and looks at the machine's set-up.
    ///
    /// # Errors
    /// The machine is left to useradd.
    pub fn open(names: &NameService, settings: &UseraddSettings) -> Result<Self, Unsuitable> {
        suitability::check_machine()?;
        let defaults = settings.defaults()?;
        let homes = suitability::homes(&defaults.homes)?;
        let mail_group = names.group("mail").ok().flatten().map(|group| group.gid);
        Ok(Self {
            skeleton: Skeleton::read(&defaults.skeleton)?,
            defaults,
            homes,
            mail_group,
        })
    }

    /// Creates a group without members, as `groupadd` does; one of the name that is there stays.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create_group(&self, name: &str, names: &NameService) -> Result<(), CreateError> {
        if !suitability::is_plain_name(name) {
            return Err(Unsuitable::new(format!("{name} is no plain name")).into());
        }
        suitability::system_program("groupadd")?;
        let failed = |source| CreateError::Failed {
            path: ETC.into(),
            begun: false,
            source,
        };
        let etc = Directory::open(Path::new(ETC)).map_err(failed)?;
        let lock = PasswordLock::take(&etc, PATIENCE)?;
        let present = read_present(&etc)?;
        let files = new_group(&tables(&present)?, &self.defaults, name, asking(names))?;
        write(&etc, &present, &files)?;
        drop(lock);
        if !files.is_empty() {
            invalidate_caches();
        }
        Ok(())
    }

    /// Creates users with a password that nothing matches, all or none of those that are not left out.
    ///
    /// `resumed` are names whose creation was begun before and cut short. The homes are still to be made.
    ///
    /// # Errors
    /// See [`CreateError`]; passwd is as it was.
    pub fn create(
        &self,
        users: &[NewUser],
        resumed: &Set<String>,
        day: i64,
        names: &NameService,
    ) -> Result<Created, CreateError> {
        users
            .iter()
            .try_for_each(|user| suitability::check_shell(&user.shell))?;
        let failed = |path: PathBuf| {
            move |source| CreateError::Failed {
                path,
                begun: false,
                source,
            }
        };
        let etc = Directory::open(Path::new(ETC)).map_err(failed(ETC.into()))?;
        let lock = PasswordLock::take(&etc, PATIENCE)?;
        let mut left = Set::new();
        let mut wanted = Vec::new();
        for user in users {
            // Whose a home is that is there already, and what useradd makes of it, is not for us to say.
            let has_no_home = || matches!(self.homes.status_of(user.name.as_ref()), Ok(None));
            if suitability::is_plain_name(&user.name) && has_no_home() {
                wanted.push(user.clone());
            } else {
                left.insert(user.name.clone());
            }
        }
        let present = read_present(&etc)?;
        let additions = self.add(&present, &wanted, resumed, day, names)?;
        left.extend(additions.left);
        if !additions.accounts.is_empty() {
            suitability::check_login_records(additions.accounts.values())?;
            write(&etc, &present, &additions.files)?;
        }
        drop(lock);
        if !additions.accounts.is_empty() {
            invalidate_caches();
        }
        Ok(Created {
            accounts: additions.accounts,
            left,
            unasked: additions.unasked,
        })
    }

    /// Makes the home and the mailbox of a user that [`Self::create`] created, or completes a home that was cut short. A
    /// complete home is not touched, whoever made it.
    ///
    /// # Errors
    /// Those of the system calls. The user exists all the same.
    pub fn make_home(&self, name: &str, account: &Account) -> io::Result<()> {
        let is_ours = account.home.parent() == Some(self.homes.path());
        if !is_ours {
            return Ok(());
        }
        self.skeleton
            .make_home(&self.homes, account, self.defaults.home_mode)?;
        if let Some(mailboxes) = &self.defaults.mailboxes {
            home::make_mailbox(mailboxes, name, account.uid, self.mail_group, account.gid);
        }
        Ok(())
    }

    fn add(
        &self,
        present: &[Present],
        users: &[NewUser],
        resumed: &Set<String>,
        day: i64,
        names: &NameService,
    ) -> Result<Additions, Unsuitable> {
        let tables = tables(present)?;
        additions(&tables, &self.defaults, users, resumed, day, asking(names))
    }
}

fn tables(present: &[Present]) -> Result<Tables<'_>, Unsuitable> {
    let lines = present.iter().map(|file| {
        let lines = Lines::parse(file.table, &file.bytes)?;
        Ok((file.table, lines))
    });
    Ok(Tables {
        lines: lines.collect::<Result<_, Unsuitable>>()?,
    })
}

/// Puts questions to the name service.
fn asking(names: &NameService) -> impl FnMut(Question<'_>) -> io::Result<bool> + '_ {
    |question| match question {
        Question::Uid(uid) => names.is_used(uid),
        Question::Gid(gid) => names.is_group_used(gid),
        Question::Group(name) => Ok(names.group(name)?.is_some()),
    }
}

fn read_present(etc: &Directory) -> Result<Vec<Present>, CreateError> {
    let mut present = Vec::new();
    for table in Table::ALL {
        let name = table.file();
        let odd =
            |what: &str| Unsuitable::new(format!("{}: {what}", etc.path().join(name).display()));
        let status = etc
            .status_of(name.as_ref())
            .map_err(|error| odd(&error.to_string()))?;
        let bytes = etc
            .read(name.as_ref(), SIZE_LIMIT)
            .map_err(|error| odd(&error.to_string()))?;
        match (status, bytes) {
            (Some(status), Some(bytes)) => present.push(Present {
                table,
                bytes,
                status,
            }),
            _ if table.is_optional() => {}
            _ => return Err(odd("it is missing").into()),
        }
    }
    Ok(present)
}

/// Writes the files in their order, each with a backup of what it was before, as shadow's tools do.
fn write(
    etc: &Directory,
    present: &[Present],
    files: &[(Table, Vec<u8>)],
) -> Result<(), CreateError> {
    let mut begun = false;
    for (table, bytes) in files {
        let Some(before) = present.iter().find(|file| file.table == *table) else {
            continue;
        };
        if before.bytes == *bytes {
            continue;
        }
        let replaced = replace(etc, before, bytes);
        replaced.map_err(|source| CreateError::Failed {
            path: etc.path().join(table.file()),
            begun,
            source,
        })?;
        begun = true;
    }
    Ok(())
}

fn replace(etc: &Directory, before: &Present, bytes: &[u8]) -> io::Result<()> {
    let name = before.table.file();
    let now = etc.status_of(name.as_ref())?;
    let stamp = |status: &Stat| {
        (
            status.st_ino,
            status.st_size,
            status.st_mtime,
            status.st_mtime_nsec,
        )
    };
    if now.is_none_or(|now| stamp(&now) != stamp(&before.status)) {
        return Err(io::Error::other(
            "it was changed by something that takes no lock",
        ));
    }
    let backup = format!("{name}-");
    // What a killed process left of its temporary files.
    etc.sweep(name.as_ref())?;
    etc.sweep(backup.as_ref())?;
    let as_it_was = Attributes::mode(before.status.st_mode & 0o7777)
        .owned_by(before.status.st_uid, before.status.st_gid);
    etc.replace(backup.as_ref(), &before.bytes, &as_it_was)?;
    etc.replace(name.as_ref(), bytes, &as_it_was)
}

/// Has the caches of the name service forget, as useradd does; a cache that is not installed has nothing to forget.
fn invalidate_caches() {
    for (program, arguments) in [
        ("nscd", ["-i", "passwd"].as_slice()),
        ("nscd", &["-i", "group"]),
        ("sss_cache", &["-U", "-G"]),
    ] {
        if processes::find(program).is_some() {
            // A cache that is not running fails; a running one forgets by itself in time.
            let _ = processes::run(&Invocation::new(program, arguments.iter().copied()));
        }
    }
}
