//! Accounts and SSH keys: observe, plan (pure), apply.
