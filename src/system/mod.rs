//! Every effect on the machine, and nothing about Google.
//!
//! Only this room contains `unsafe` (one call per wrapper, each with its contract), opens or writes files, runs programs,
//! speaks netlink, reads clocks or takes locks. Fakes are values: a [`root::Root`] directory, a table of tool paths.

pub mod accounts_database;
pub mod channel;
pub mod credentials;
mod cryptography;
pub mod environment;
pub mod ethtool;
pub mod events;
pub mod executables;
pub mod files;
pub mod foreground;
pub mod hostname;
pub mod http_date;
pub mod iso_8601;
pub mod json;
pub mod local_users;
pub mod locks;
pub mod log;
pub mod memory;
pub mod mounts;
pub mod name_service;
pub mod namespaces;
pub mod netlink;
pub mod notify;
pub mod ntp_control;
pub mod nvme;
pub mod order;
pub mod permissions;
pub mod power;
pub mod processes;
pub mod root;
pub mod rtc;
pub mod selinux;
pub mod services;
pub mod signals;
pub mod threads;
pub mod time;
pub mod users;
pub mod web;
