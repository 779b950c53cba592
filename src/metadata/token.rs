//! The access token of the VM's service account (spec/core.md 10.3).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::metadata::client::Client;
use crate::metadata::error::MetadataError;
use crate::metadata::question::Query;

/// An access token. It is never shown: not in a log, not by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    kind: String,
    secret: String,
    /// How much longer it is valid, at the moment of the answer.
    pub expires_in: Duration,
}

impl Token {
    /// The value of an `Authorization` header. Send it over TLS, to Google only.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("{} {}", self.kind, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token {{ {} <redacted> }}", self.kind)
    }
}

#[derive(Deserialize)]
struct Wire {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: u64,
}

impl Client {
    /// The value of an `Authorization` header for Google's services; `None` on a VM without a service account.
    ///
    /// # Errors
    /// Each [`MetadataError`] but `NotFound`.
    pub fn authorization(&self) -> Result<Option<String>, MetadataError> {
        match self.access_token() {
            Ok(token) => Ok(Some(token.authorization())),
            Err(MetadataError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A token of the default service account; a VM without one answers [`MetadataError::NotFound`].
    ///
    /// # Errors
    /// Each [`MetadataError`].
    pub fn access_token(&self) -> Result<Token, MetadataError> {
        let answer = self.get("instance/service-accounts/default/token", &Query::json())?;
        // serde's messages quote what they do not expect, and that may be the token.
        let malformed = || MetadataError::Malformed("it is not an access token".into());
        let wire: Wire = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
        let printable =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&wire.access_token) || !printable(&wire.token_type) {
            return Err(malformed());
        }
        Ok(Token {
            kind: wire.token_type,
            secret: wire.access_token,
            expires_in: Duration::from_secs(wire.expires_in),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_show_itself() {
        let token = Token {
            kind: "Bearer".into(),
            secret: "canary".into(),
            expires_in: Duration::from_secs(3_599),
        };
        assert_eq!(format!("{token:?}"), "Token { Bearer <redacted> }");
        assert_eq!(token.authorization(), "Bearer canary");
    }
}
