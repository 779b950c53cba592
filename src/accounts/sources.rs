//! Where users and their keys come from, which may be slow: what is known of that is kept from pass to pass.

use super::home::Homes;
use crate::system::accounts_database::UseraddSettings;
use crate::system::name_service::NameService;

/// The name service and the home directories, either of which can hang at a server that does not answer, and what is asked
/// once for all new users.
#[derive(Debug, Default)]
pub struct Sources {
    /// The name service.
    pub names: NameService,
    /// The home directories.
    pub homes: Homes,
    /// The settings for new users.
    pub useradd: UseraddSettings,
}

impl Sources {
    /// Begins a pass: reads anew where sshd looks for keys, and waits again for what was too slow before.
    pub fn refresh(&mut self) {
        self.names.begin();
        self.homes.refresh();
    }
}
