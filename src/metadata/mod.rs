//! The metadata server: a client that cannot be fooled or worn out, a watcher, and the typed document.
//!
//! This room knows nothing of the managers. It reads; only guest attributes are written.
//! [`Client`] asks once, [`Retry`] asks again, [`Watcher`] goes on for ever; [`Document`] is what the answers say.
//! It touches the network and the log, and no file.

pub mod attributes;
pub mod backoff;
pub mod client;
pub mod document;
pub mod endpoint;
pub mod error;
pub mod parse;
pub mod question;
pub mod retry;
pub mod token;
pub mod watch;

pub use backoff::Backoff;
pub use client::Client;
pub use document::Document;
pub use endpoint::Endpoint;
pub use error::MetadataError;
pub use question::{Answer, Etag, Format, Query};
pub use retry::Retry;
pub use token::Token;
pub use watch::{Stop, Update, Watcher};
