//! One pass over the shutdown scripts, as the agent reports it: they are kept while there is a network to fetch them by,
//! because at the shutdown there may be none (spec/core.md 10; docs/scripts.md).

use crate::agent::report::{Input, Report};
use crate::metadata::{Client, Endpoint, MetadataError};
use crate::scripts::cache;
use crate::scripts::fetch::Limits;
use crate::scripts::state::State;
use crate::system::root::Root;

/// Keeps copies of what metadata wants to run at a shutdown; what is there already is not fetched again.
pub(super) fn reconcile(input: &Input) -> Report {
    if !input.settings.metadata_scripts.shutdown {
        return Report::default();
    }
    let limits = Limits {
        attempts: 3,
        ..Limits::patient()
    };
    let state = State::at(Root::machine());
    match cache::refresh(&state, &input.document, &authorization, &limits) {
        Ok(true) => Report::default(),
        Ok(false) => Report::failed(
            "copies",
            "a shutdown script could not be fetched, so a shutdown without network will not run it"
                .into(),
        ),
        Err(error) => Report::failed(
            "copies",
            format!("the shutdown scripts cannot be kept for later: {error}"),
        ),
    }
}

/// The `Authorization` header for Cloud Storage; a VM without a service account has none.
fn authorization() -> Result<Option<String>, String> {
    match Client::new(Endpoint::compute_engine()).access_token() {
        Ok(token) => Ok(Some(token.authorization())),
        Err(MetadataError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
