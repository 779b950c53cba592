//! One thin file per verb.

pub(crate) mod sandbox;
