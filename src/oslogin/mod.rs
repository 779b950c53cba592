//! OS Login: users, keys and sudo from Google's directory instead of metadata (spec/core.md 6.9, spec/beyond.md 6).
//!
//! There are two drivers. `control` has the package's own program do the edits, where the package has one; `native` does
//! them itself, with newer packages, which have none, and where the configuration allows a part of them only. `plan` is
//! pure in both. While OS Login is not really active, metadata keys go on working, so that asking for it on a machine that
//! cannot have it locks nobody out (BUG 13).

mod control;
mod native;
mod plan;

use std::fmt;
use std::time::Duration;

use self::control::Control;
use self::native::Native;
use crate::config::settings;
use crate::metadata::Document;
use crate::metadata::attributes::effective_boolean;

/// What OS Login is judged by.
pub struct Request<'a> {
    /// The latest metadata.
    pub document: &'a Document,
    /// What may be changed.
    pub settings: &'a settings::OsLogin,
    /// Asks the metadata server for the keys of the authorities whose certificates count, one to a line; asked only where
    /// certificates are taken.
    pub authorities: &'a dyn Fn() -> Result<String, String>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Request");
        shown
            .field("settings", self.settings)
            .finish_non_exhaustive()
    }
}

/// What came of a pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Whether OS Login is in charge of log-ins now.
    pub active: bool,
    /// Whether that cannot be known: the machine could not be looked at. Nobody must gain or lose anything by that.
    pub undecided: bool,
    /// What was changed, in words.
    pub changes: Vec<String>,
    /// What stands in the way, with what to do.
    pub problem: Option<String>,
    /// Whether another try is worth while, and after which time.
    pub again_in: Option<Duration>,
}

/// OS Login, with what is remembered between passes.
#[derive(Debug, Default)]
pub struct OsLogin {
    control: Control,
    native: Native,
    /// Whether it was in charge when that was known last.
    active: Option<bool>,
}

impl OsLogin {
    /// Brings OS Login in line with metadata.
    pub fn reconcile(&mut self, request: &Request<'_>) -> Pass {
        if self.native.is_absent(request) {
            self.active = Some(false);
            return Pass::default();
        }
        let mut pass = if has_control(request) {
            self.control.reconcile(request.document)
        } else {
            self.native.reconcile(request)
        };
        match self.active {
            Some(active) if pass.undecided => {
                pass.active = active;
                pass.undecided = false;
            }
            _ if pass.undecided => {}
            _ => self.active = Some(pass.active),
        }
        pass
    }
}

/// What a pass would do now, and whether OS Login would be in charge after it. Changes nothing.
#[must_use]
pub fn preview(request: &Request<'_>) -> Pass {
    if has_control(request) {
        control::preview(request.document)
    } else {
        native::preview(request)
    }
}

/// Whether OS Login is wanted and in charge of log-ins. Changes nothing.
#[must_use]
pub fn is_active(request: &Request<'_>) -> bool {
    if has_control(request) {
        control::is_active(request.document)
    } else {
        native::is_active(request)
    }
}

fn is_wanted(document: &Document) -> bool {
    effective_boolean(document, "enable-oslogin") == Some(true)
}

/// Whether metadata does not say all that decides.
fn is_half(document: &Document) -> bool {
    let (instance, project) = (&document.instance, &document.project);
    instance.attributes.present().is_none() || project.attributes.present().is_none()
}

/// Whether the package's control program drives: it knows what the package of its version needs, and knows nothing of
/// security keys, of certificates, or of files that are to be left alone.
fn has_control(request: &Request<'_>) -> bool {
    let settings = request.settings;
    let is_on = |name| effective_boolean(request.document, name) == Some(true);
    control::is_installed()
        && settings.manage_sshd
        && settings.manage_pam
        && settings.manage_nss
        && !is_on("enable-oslogin-sk")
        && !is_on("enable-oslogin-certificates")
}
