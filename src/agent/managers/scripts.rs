//! One pass over the shutdown scripts, as the agent reports it: they are kept while there is a network to fetch them by,
//! because at the shutdown there may be none (spec/core.md 10; docs/scripts.md).

use crate::agent::report::{Change, Input, Report};
use crate::metadata::{Client, Endpoint};
use crate::scripts::cache;
use crate::scripts::fetch::Limits;
use crate::scripts::state::State;
use crate::system::root::Root;

/// Keeps copies of what metadata wants to run at a shutdown; what is there already is not fetched again.
pub(super) fn reconcile(input: &Input) -> Report {
    if !input.settings.metadata_scripts.shutdown {
        return Report::default();
    }
    let state = State::at(Root::machine());
    let token = || {
        let client = Client::new(Endpoint::compute_engine());
        client.authorization().map_err(|error| error.to_string())
    };
    match cache::refresh(&state, &input.document, &token, &Limits::for_copies()) {
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

/// What a pass would do now. Changes nothing, and fetches nothing.
pub(super) fn preview(input: &Input) -> Report {
    if !input.settings.metadata_scripts.shutdown {
        return Report::default();
    }
    let state = State::at(Root::machine());
    match cache::pending(&state, &input.document) {
        Ok(pending) => Report {
            changes: pending
                .into_iter()
                .map(|pending| Change {
                    subject: Some("copies of the shutdown scripts".into()),
                    key: pending.key,
                    ..Change::from(pending.what)
                })
                .collect(),
            ..Report::default()
        },
        Err(error) => Report::failed(
            "copies",
            format!("the copies of the shutdown scripts cannot be read: {error}"),
        ),
    }
}
