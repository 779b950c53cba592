//! Why there is no answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use ureq::Timeout;

/// The largest body that is read, in bytes. All metadata of a VM is limited to 512 KiB by Compute Engine.
pub const BODY_LIMIT: u64 = 16 * 1024 * 1024;

/// Why there is no answer. No variant carries anything of a value.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// The server says that there is no such key. This is an answer, and asking again does not help.
    #[error("there is no metadata key {0}")]
    NotFound(String),
    /// The key is a directory, whose name ends in a slash.
    #[error("metadata key {0} is a directory: ask for {0}/")]
    Directory(String),
    /// No connection to any address of the endpoint came about.
    #[error("cannot reach the metadata server at {address}: {reason}")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The connection was there, and the answer did not come, or not whole, within the deadline.
    #[error("the metadata server at {address} did not answer within {} s", .deadline.as_secs_f32())]
    Silent {
        /// The address.
        address: SocketAddr,
        /// The deadline.
        deadline: Duration,
    },
    /// The connection ended before the answer was whole.
    #[error("the connection to the metadata server at {address} broke: {reason}")]
    Broken {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// A status that is neither success nor "no such key".
    #[error("the metadata server answered {0}")]
    Status(u16),
    /// The answer is not the metadata server's: it lacks `Metadata-Flavor: Google`.
    #[error(
        "the answer of {address} (status {status}) lacks the header Metadata-Flavor: Google; it is not the metadata server's"
    )]
    NotGenuine {
        /// The address.
        address: SocketAddr,
        /// The status of the answer.
        status: u16,
    },
    /// The server sends us elsewhere, where we do not go.
    #[error("the metadata server answered with a redirect ({0}), which is not followed")]
    Redirected(u16),
    /// The body is larger than [`BODY_LIMIT`].
    #[error("the answer of the metadata server is larger than {BODY_LIMIT} bytes")]
    TooLarge,
    /// It is not HTTP, not JSON, or not what was asked for.
    #[error("the answer of the metadata server cannot be read: {0}")]
    Malformed(String),
    /// The name of the key, or of a guest attribute, is not one.
    #[error("{0}")]
    BadKey(String),
}

impl MetadataError {
    /// Whether the machine has no way to any server, as before its network is up.
    #[must_use]
    pub fn lacks_network(&self) -> bool {
        use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
        let kinds = [HostUnreachable, NetworkDown, NetworkUnreachable];
        matches!(self, Self::Unreachable { reason, .. } if kinds.contains(&reason.kind()))
    }

    /// Whether the same request may succeed later: everything but a client's mistake, and 408, 429 and 5xx of those that
    /// the server reports by status (pains 68).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Directory(_) | Self::BadKey(_) => false,
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 429),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotGenuine { .. }
            | Self::Redirected(_)
            | Self::TooLarge
            | Self::Malformed(_) => true,
        }
    }
}

/// What a failure of the HTTP client means here.
pub(crate) fn failure(
    error: ureq::Error,
    address: SocketAddr,
    deadline: Duration,
) -> MetadataError {
    match error {
        ureq::Error::Timeout(Timeout::Connect) => MetadataError::Unreachable {
            address,
            reason: io::ErrorKind::TimedOut.into(),
        },
        ureq::Error::Timeout(_) => MetadataError::Silent { address, deadline },
        ureq::Error::BodyExceedsLimit(_) => MetadataError::TooLarge,
        ureq::Error::Io(reason) => match reason.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TimedOut => MetadataError::Unreachable { address, reason },
            // A system without IPv6 says so in its own way.
            _ if reason.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                MetadataError::Unreachable { address, reason }
            }
            _ => MetadataError::Broken { address, reason },
        },
        other => MetadataError::Malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (status, transient) in [
            (400, false),
            (403, false),
            (408, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(
                MetadataError::Status(status).is_transient(),
                transient,
                "{status}"
            );
        }
        assert!(!MetadataError::NotFound("k".into()).is_transient());
        assert!(MetadataError::TooLarge.is_transient());
    }
}
