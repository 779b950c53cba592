//! What a single pass works from: metadata and the settings, read once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::agent::report::Input;
use crate::config;
use crate::metadata::question::Query;
use crate::metadata::{Client, Document, Endpoint};
use crate::system::root::Root;

/// Reads metadata and settings.
///
/// # Errors
/// The metadata server does not answer.
pub(super) fn read() -> anyhow::Result<Input> {
    read_by(&Client::new(Endpoint::compute_engine()))
}

/// The same with a deadline for the metadata server, for a program that others wait for.
///
/// # Errors
/// The metadata server does not answer in time.
pub(super) fn read_within(deadline: Duration) -> anyhow::Result<Input> {
    read_by(&Client::new(Endpoint::compute_engine()).with_deadline(deadline))
}

fn read_by(client: &Client) -> anyhow::Result<Input> {
    let answer = client
        .get("", &Query::recursive())
        .context("read metadata")?;
    let document = answer.document().context("read metadata")?;
    let settings = config::load(&Root::machine(), metadata_config(&document)).settings;
    Ok(Input {
        document: Arc::new(document),
        etag: answer.etag.as_str().into(),
        settings: Arc::new(settings),
    })
}

/// The configuration in metadata.
pub(super) fn metadata_config(document: &Document) -> Option<&str> {
    config::metadata_config(
        document.instance.attributes.present(),
        document.project.attributes.present(),
    )
}
