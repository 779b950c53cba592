//! `authorized_keys` in home directories, which their owners control and may swap under our hands.
//!
//! Everything inside a home is done with the owner's credentials and by directory file descriptors that follow no link:
//! whatever the owner plants there, he reaches only what he could reach anyway (spec/core.md SEC 6, SEC 7). A home that
//! does not answer, on a dead file server say, costs its own user and nobody else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::authorized_keys;
use super::labels::Labels;
use super::location::{self, KeysFiles, Listing, Location};
use super::plan::{Account, KeysFile};
use super::visits::Visits;
use crate::system::credentials::{Credentials, GivenUp};
use crate::system::files::{self, Attributes, Directory, Stamp};
use crate::system::order::Map;
use crate::system::root::Root;
use crate::system::{selinux, time};

/// The largest file that is read, in bytes: sshd itself reads far less.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;
/// How long what sshd said of a user counts, in seconds: the groups of a directory can change without any file.
const ANSWER_COUNTS: i64 = 600;

/// The home directories of users, and what is remembered of slow ones between passes.
#[derive(Debug, Default)]
pub struct Homes {
    configuration: Listing,
    keys_files: KeysFiles,
    /// What sshd said of users, where it depends on them. It is asked again when its answer may be another.
    asked: Mutex<Map<String, String>>,
    /// Whether it did not answer in this pass.
    sshd_is_late: AtomicBool,
    /// When it was asked first, in seconds since 1970.
    asked_since: i64,
    /// What its answer comes from.
    basis: Vec<Stamp>,
    /// The SELinux contexts of what this pass makes: one process for each would take longer than the rest.
    labels: Labels,
    visits: Visits,
}

impl Homes {
    /// Reads anew where sshd looks for keys; once before each pass. What sshd has said of users counts for a while, as long
    /// as its configuration, the users and the groups are the same files: thousands of calls would take longer than a pass.
    pub fn refresh(&mut self) {
        self.labels = Labels::default();
        self.sshd_is_late = AtomicBool::new(false);
        let now = time::now().as_second();
        let root = Root::machine();
        let users = ["/etc/passwd", "/etc/group"].map(PathBuf::from);
        let configuration = self.configuration.refresh(&root, now).iter();
        let files = configuration.chain(&users);
        let stamps: Vec<Stamp> = files.map(|path| Stamp::of(path, now)).collect();
        let since = self.asked_since;
        let is_same = (0..ANSWER_COUNTS).contains(&(now - since)) && self.basis == stamps;
        if is_same && stamps.iter().all(Stamp::is_settled) {
            return;
        }
        self.keys_files = KeysFiles::read(&root);
        self.asked = Mutex::default();
        (self.asked_since, self.basis) = (now, stamps);
    }

    /// The stamps of the files of users, of groups and of sshd's configuration, as this pass has found them.
    pub(super) fn stamps(&self) -> &[Stamp] {
        &self.basis
    }

    /// The patterns of `AuthorizedKeysFile` for a user.
    fn patterns(&self, name: &str) -> String {
        if let KeysFiles::Everybody(patterns) = &self.keys_files {
            return patterns.clone();
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(patterns) = asked.get(name) {
            return patterns.clone();
        }
        if !self.sshd_is_late.load(Ordering::Relaxed) {
            if let Some(patterns) = self.keys_files.patterns(name) {
                asked.insert(name.to_owned(), patterns.clone());
                return patterns;
            }
            // It would be as late for everybody else.
            self.sshd_is_late.store(true, Ordering::Relaxed);
        }
        self.keys_files.written().to_owned()
    }

    /// Reads the `authorized_keys` of users, in their order.
    #[must_use]
    pub fn read_each(&self, users: &[(&str, &Account)]) -> Vec<KeysFile> {
        let mut found: Vec<Option<KeysFile>> = Vec::new();
        let mut together = Vec::new();
        for (index, (name, account)) in users.iter().enumerate() {
            found.push(match self.place(name, account) {
                Err(reason) => Some(KeysFile::Refused(reason)),
                // Who was slow before is seen to alone.
                Ok(place) if self.visits.was_slow(account.uid) => Some(self.read(&place, account)),
                Ok(place) => {
                    together.push((index, *account, place));
                    None
                }
            });
        }
        let mut together = together.as_slice();
        while !together.is_empty() {
            let answers = self.read_in_turn(together);
            for ((index, _, _), answer) in together.iter().zip(&answers) {
                found[*index] = Some(answer.clone());
            }
            together = &together[answers.len()..];
        }
        let unread = || KeysFile::Refused("it was not read".into());
        found
            .into_iter()
            .map(|file| file.unwrap_or_else(unread))
            .collect()
    }

    /// Reads files one after the other, up to the first home that does not answer, that one included.
    fn read_in_turn(&self, users: &[(usize, &Account, Place)]) -> Vec<KeysFile> {
        let task = |(_, account, place): &(usize, &Account, Place)| {
            let place = place.clone();
            (owner(account), move |_: &GivenUp| place.read())
        };
        let results = self.visits.act_in_turn(users.iter().map(task));
        let places = users.iter().map(|(_, _, place)| place);
        places
            .zip(results)
            .map(|(place, result)| keys_file(place, result))
            .collect()
    }

    fn read(&self, place: &Place, account: &Account) -> KeysFile {
        let task = place.clone();
        let result = self
            .visits
            .act_as(account.uid, owner(account), move |_| task.read());
        keys_file(place, result)
    }

    /// Looks up the SELinux contexts of what these users may be given, all at once.
    pub fn look_up_labels(&self, users: &[(&str, Account)]) {
        if users.is_empty() || !selinux::is_on(&Root::machine()) {
            return;
        }
        let mut paths = Vec::new();
        for (name, account) in users {
            if let Ok(place) = self.place(name, account) {
                paths.push(account.home.clone());
                paths.extend(place.ways());
            }
        }
        self.labels.look_up(paths);
    }

    /// Lets the file hold exactly `keys` of ours. Home and directories are made where they are missing.
    ///
    /// # Errors
    /// What stands in the way, with the path. The old file is then untouched.
    pub fn write(&self, name: &str, account: &Account, keys: &[String]) -> io::Result<()> {
        let place = self.place(name, account).map_err(io::Error::other)?;
        let file = place.file();
        let task = Arc::new(Task {
            labels: self.labels.of(&place.ways()),
            keys: keys.to_vec(),
            place,
        });
        let write = || {
            let task = Arc::clone(&task);
            self.visits
                .act_as(account.uid, owner(account), move |given_up| {
                    task.write(given_up)
                })
        };
        let mut result = write();
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            result = self.make_home(account).and_then(|()| write());
        }
        result.map_err(|error| io::Error::new(error.kind(), refusal(&file, &error)))
    }

    /// Makes a home, if that is what is missing.
    fn make_home(&self, account: &Account) -> io::Result<()> {
        let missing = account.clone();
        let label = self.labels.known(&account.home);
        let root = Credentials { uid: 0, gid: 0 };
        self.visits.act_as(account.uid, root, move |_| {
            make_missing_home(&missing, label.as_deref())
        })
    }

    /// Removes the file, whatever it is but a directory: a link goes, and not what it points to. Of a directory on the
    /// way that is a link, the link goes: sshd follows it, so the keys behind it would go on counting.
    ///
    /// # Errors
    /// What stands in the way, with the path.
    pub fn remove(&self, name: &str, account: &Account) -> io::Result<()> {
        let place = self.place(name, account).map_err(io::Error::other)?;
        let file = place.file();
        let result = self
            .visits
            .act_as(account.uid, owner(account), move |given_up| {
                place.insisting(|place| place.remove(given_up))
            });
        result.map_err(|error| io::Error::new(error.kind(), refusal(&file, &error)))
    }

    fn place(&self, name: &str, account: &Account) -> Result<Place, String> {
        match location::locate(&self.patterns(name), name, account.uid, &account.home) {
            Location::BelowHome(names) => Ok(Place {
                home: account.home.clone(),
                names,
            }),
            Location::Refused(reason) => Err(reason),
        }
    }
}

/// What is to be written, for the thread that writes it.
struct Task {
    place: Place,
    keys: Vec<String>,
    labels: Map<PathBuf, Vec<u8>>,
}

impl Task {
    fn write(&self, given_up: &GivenUp) -> io::Result<()> {
        let write = |place: &Place| place.write(&self.keys, &self.labels, given_up);
        if self.keys.is_empty() {
            self.place.insisting(write)
        } else {
            write(&self.place)
        }
    }
}

/// What reading a file has found.
fn keys_file(place: &Place, result: io::Result<Option<Vec<u8>>>) -> KeysFile {
    match result {
        Ok(Some(bytes)) => KeysFile::Contents(bytes),
        Ok(None) => KeysFile::Absent,
        Err(error) => KeysFile::Refused(refusal(&place.file(), &error)),
    }
}

fn owner(account: &Account) -> Credentials {
    Credentials {
        uid: account.uid,
        gid: account.gid,
    }
}

/// The place of a keys file: the home, and names below it.
#[derive(Clone, Debug)]
struct Place {
    home: PathBuf,
    names: Vec<OsString>,
}

impl Place {
    /// The file and the directories on the way from the home to it.
    fn ways(&self) -> Vec<PathBuf> {
        let mut path = self.home.clone();
        let below = |name: &OsString| {
            path.push(name);
            path.clone()
        };
        self.names.iter().map(below).collect()
    }

    fn file(&self) -> PathBuf {
        self.home.join(self.names.iter().collect::<PathBuf>())
    }

    /// The file's own name, and the directories before it.
    fn split(&self) -> (&OsStr, &[OsString]) {
        let (name, directories) = self
            .names
            .split_last()
            .expect("a location below the home has a name");
        (name, directories)
    }

    fn name(&self) -> &OsStr {
        self.split().0
    }

    /// Opens the directory of the file; `None` when there is none.
    fn open_directory(&self) -> io::Result<Option<Directory>> {
        let opened = Directory::open(&self.home).and_then(|home| {
            self.split()
                .1
                .iter()
                .try_fold(home, |directory, name| directory.open_directory(name))
        });
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, given_up: &GivenUp) -> io::Result<()> {
        let (name, directories) = self.split();
        let mut directory = match Directory::open(&self.home) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        for name in directories {
            directory = match directory.status_of(name)? {
                None => return Ok(()),
                Some(status) if files::is_link(&status) => {
                    given_up.check()?;
                    return directory.remove(name).map(drop);
                }
                Some(_) => directory.open_directory(name)?,
            };
        }
        given_up.check()?;
        directory.remove(name).map(drop)
    }

    /// Takes something away, also where the owner has taken the right to read or write from the directories: sshd needs
    /// only the right to pass, so a mode would be enough to keep a key. Acts with the owner's credentials.
    fn insisting(&self, take: impl Fn(&Self) -> io::Result<()>) -> io::Result<()> {
        match take(self) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let mut path = self.home.clone();
                // What is not the owner's keeps its mode, and the second attempt says so.
                let _ = files::add_to_mode(&path, 0o700);
                for name in self.split().1 {
                    path.push(name);
                    let _ = files::add_to_mode(&path, 0o700);
                }
                take(self)
            }
            result => result,
        }
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match self.open_directory()? {
            Some(directory) => directory.read(self.name(), SIZE_LIMIT),
            None => Ok(None),
        }
    }

    fn write(
        &self,
        keys: &[String],
        labels: &Map<PathBuf, Vec<u8>>,
        given_up: &GivenUp,
    ) -> io::Result<()> {
        let (name, directories) = self.split();
        let mut directory = Directory::open(&self.home)?;
        for name in directories {
            let (next, made) = directory.open_or_create_directory(name, 0o700)?;
            match labels.get(next.path()) {
                Some(label) if made => next.set_label(label),
                None if made => {}
                _ => close_to_others(&next)?,
            }
            directory = next;
        }
        directory.sweep(name)?;
        let present = directory.read(name, SIZE_LIMIT)?.unwrap_or_default();
        let lines: Vec<&str> = keys.iter().map(String::as_str).collect();
        match authorized_keys::edit(&present, &lines) {
            Some(edited) => {
                // What nobody waits for any more may be revoked by now.
                given_up.check()?;
                let label = labels.get(&self.file()).cloned();
                directory.replace(name, &edited, &Attributes::mode(0o600).labelled(label))
            }
            None => Ok(()),
        }
    }
}

/// Takes the right to write from group and others: with it sshd would refuse the keys.
fn close_to_others(directory: &Directory) -> io::Result<()> {
    let mode = directory.status()?.st_mode & 0o7777;
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        directory.set_mode(mode & !0o022)
    }
}

/// Makes a home that is missing, as directory users have it at their first login. Only where nobody but root decides about
/// the way to it: whoever could put a link there would have root make a directory for somebody wherever it leads.
fn make_missing_home(account: &Account, label: Option<&[u8]>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (account.home.parent(), account.home.file_name()) else {
        return Ok(());
    };
    let parent = match Directory::open_roots_own(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Whether a home that is there can be used is found out with the owner's credentials.
            if matches!(files::owner_and_mode(&account.home), Ok(Some(_))) {
                return Ok(());
            }
            let told = format!("{error}, so no home is made there");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
        }
        // That is found out with the owner's credentials as well.
        Err(_) => return Ok(()),
    };
    if parent.status_of(name)?.is_some() {
        return Ok(());
    }
    parent.create_directory_for(name, 0o755, account.uid, account.gid)?;
    if let Some(label) = label {
        parent.open_directory(name)?.set_label(label);
    }
    Ok(())
}

/// What went wrong, with the place and what to do.
fn refusal(file: &std::path::Path, error: &io::Error) -> String {
    let is = |errno: rustix::io::Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let advice = match error.kind() {
        _ if is(rustix::io::Errno::LOOP) => "it is a symbolic link; replace it by a real file",
        // Owner and group of the file cannot be kept: it is a hard link to somebody else's, say.
        _ if is(rustix::io::Errno::PERM) => {
            "it belongs to somebody else or may not be changed; remove it"
        }
        io::ErrorKind::NotADirectory => {
            "a directory on the way is a link or none at all; replace it by a real one"
        }
        io::ErrorKind::InvalidInput => "it is not a regular file; remove it",
        io::ErrorKind::FileTooLarge => "it is too large to be a list of keys; shorten it",
        io::ErrorKind::PermissionDenied => {
            "the user may not read or write there; check owner and mode of the file and of the directories above it"
        }
        io::ErrorKind::StorageFull => "the disk is full; the old file is untouched",
        io::ErrorKind::TimedOut => {
            "the home directory does not answer; other users are not held up"
        }
        _ => "the old file is untouched",
    };
    format!("cannot use {}: {error} ({advice})", file.display())
}
