//! The agent loop: sources of events, managers, reports, readiness.
