//! The metadata server: a client that cannot be fooled or worn out, a watcher, and the typed document.
//!
//! This room knows nothing of the managers. It reads; only guest attributes are written.

pub mod document;

pub use document::Document;
