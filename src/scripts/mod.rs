//! The owner's startup and shutdown scripts.
