//! Forwarded addresses and interfaces: observe, plan (pure), apply.
