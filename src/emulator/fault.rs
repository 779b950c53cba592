//! Faults on order: what a metadata server, or somebody in its place, may do to a client. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::emulator::http::Response;

/// A fault, and how often it happens.
///
/// As JSON: `{"kind": "status", "status": 503, "times": 3, "probability": 0.5, "path": "instance/"}`; all but `kind` and
/// its own values may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Flat")]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub kind: Kind,
    /// How many requests it happens to; without a number, to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// With which probability it happens to a request, 0 to 1.
    pub probability: f64,
    /// The beginning of the keys that it happens to; empty for all.
    pub path: String,
}

/// A fault as it is written. To have serde find its kind in it by the tag takes ten kilobytes more.
#[derive(Deserialize)]
struct Flat {
    kind: String,
    status: Option<u16>,
    milliseconds: Option<u64>,
    to: Option<String>,
    times: Option<u32>,
    probability: Option<f64>,
    path: Option<String>,
}

impl TryFrom<Flat> for Fault {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Self, Self::Error> {
        let missing = |field: &str| format!("missing field `{field}`");
        let milliseconds = flat.milliseconds.ok_or_else(|| missing("milliseconds"));
        let kind = match flat.kind.as_str() {
            "status" => Kind::Status {
                status: flat.status.ok_or_else(|| missing("status"))?,
            },
            "delay" => Kind::Delay {
                milliseconds: milliseconds?,
            },
            "drip" => Kind::Drip {
                milliseconds: milliseconds?,
            },
            "redirect" => Kind::Redirect {
                to: flat.to.ok_or_else(|| missing("to"))?,
            },
            "hang" => Kind::Hang,
            "garbage" => Kind::Garbage,
            "not-json" => Kind::NotJson,
            "truncated" => Kind::Truncated,
            "no-flavor" => Kind::NoFlavor,
            "wrong-flavor" => Kind::WrongFlavor,
            "wrong-type" => Kind::WrongType,
            "no-etag" => Kind::NoEtag,
            "reset" => Kind::Reset,
            "close" => Kind::Close,
            "oversized" => Kind::Oversized,
            other => {
                return Err(format!(
                    "unknown variant `{other}`, expected one of {KINDS}"
                ));
            }
        };
        Ok(Self {
            kind,
            times: flat.times,
            probability: flat.probability.unwrap_or(1.0),
            path: flat.path.unwrap_or_default(),
        })
    }
}

/// What a kind may be.
const KINDS: &str = "`status`, `hang`, `delay`, `garbage`, `not-json`, `truncated`, `drip`, `no-flavor`, `wrong-flavor`, \
    `wrong-type`, `no-etag`, `redirect`, `reset`, `close`, `oversized`";

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// An error status, such as 503 or 429.
    Status {
        /// The status.
        status: u16,
    },
    /// No answer, while the connection stays open.
    Hang,
    /// The right answer, later.
    Delay {
        /// How much later.
        milliseconds: u64,
    },
    /// Bytes that are not HTTP, and the end of the connection.
    Garbage,
    /// A genuine head, and a body that is not JSON.
    NotJson,
    /// The head, half of the body, and the end of the connection.
    Truncated,
    /// The right answer, one byte at a time.
    Drip {
        /// The time between two bytes.
        milliseconds: u64,
    },
    /// The right answer without `Metadata-Flavor`.
    NoFlavor,
    /// The right answer with another `Metadata-Flavor`.
    WrongFlavor,
    /// The right body, labelled as a web page.
    WrongType,
    /// The right answer without `ETag`.
    NoEtag,
    /// A redirect.
    Redirect {
        /// Where it leads.
        to: String,
    },
    /// A reset of the connection instead of an answer.
    Reset,
    /// The end of the connection instead of an answer.
    Close,
    /// A body of 17 MiB.
    Oversized,
}

impl Fault {
    /// A fault that happens to every request.
    #[must_use]
    pub fn always(kind: Kind) -> Self {
        Self {
            kind,
            times: None,
            probability: 1.0,
            path: String::new(),
        }
    }

    /// A fault that happens to the next so many requests.
    #[must_use]
    pub fn times(kind: Kind, times: u32) -> Self {
        Self {
            times: Some(times),
            ..Self::always(kind)
        }
    }

    /// The same only for keys that begin so, such as `instance/`.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The same only with this probability.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }
}

/// The faults on order, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// What happens to a request for this key, if anything; `random` is a number between 0 and 1 for each fault.
    pub fn take(&mut self, key: &str, mut random: impl FnMut() -> f64) -> Option<Kind> {
        let index = self
            .0
            .iter()
            .position(|fault| key.starts_with(&fault.path) && random() < fault.probability)?;
        let fault = &mut self.0[index];
        let kind = fault.kind.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(kind)
    }
}

/// How an answer is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it is, after a delay.
    Answer(Response, Duration),
    /// One byte at a time.
    Slowly(Response, Duration),
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// Not at all, while the connection stays open.
    Never,
    /// Not at all: a reset, or an end.
    Cut {
        /// Whether it is a reset.
        reset: bool,
    },
}

impl Kind {
    /// What it makes of the right answer.
    #[must_use]
    pub fn apply(&self, mut right: Response) -> Delivery {
        let at_once = |response| Delivery::Answer(response, Duration::ZERO);
        match self {
            Self::Status { status } => at_once(Response::error(*status, "a fault on order")),
            Self::Hang => Delivery::Never,
            Self::Delay { milliseconds } => {
                Delivery::Answer(right, Duration::from_millis(*milliseconds))
            }
            Self::Garbage => {
                Delivery::Bytes(b"\x00\x01SSH-2.0-what\r\n{]\xff\xfe\r\n\r\n".to_vec())
            }
            Self::NotJson => {
                right.body = b"{\"instance\": {\"attributes\": ".to_vec();
                at_once(right)
            }
            Self::Truncated => {
                right.claimed_length = Some(right.body.len());
                let half = right.body.len() / 2;
                right.body.truncate(half);
                Delivery::Bytes(right.bytes(false, false))
            }
            Self::Drip { milliseconds } => {
                Delivery::Slowly(right, Duration::from_millis(*milliseconds))
            }
            Self::NoFlavor => {
                right.flavor = None;
                at_once(right)
            }
            Self::WrongFlavor => {
                right.flavor = Some("Amazon");
                at_once(right)
            }
            Self::WrongType => {
                right.content_type = "text/html; charset=UTF-8";
                at_once(right)
            }
            Self::NoEtag => {
                right.etag = None;
                at_once(right)
            }
            Self::Redirect { to } => {
                let mut response = Response::error(302, "a fault on order");
                response.location = Some(to.clone());
                at_once(response)
            }
            Self::Reset => Delivery::Cut { reset: true },
            Self::Close => Delivery::Cut { reset: false },
            Self::Oversized => {
                right.body = vec![b' '; 17 * 1024 * 1024];
                at_once(right)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_happen_as_often_as_ordered_and_only_there() {
        let mut faults = Faults(vec![
            Fault::times(Kind::Hang, 2).below("instance/"),
            Fault::always(Kind::Garbage).with_probability(0.5),
        ]);
        assert_eq!(faults.take("project/", || 0.9), None);
        assert_eq!(faults.take("project/", || 0.1), Some(Kind::Garbage));
        assert_eq!(faults.take("instance/id", || 0.9), Some(Kind::Hang));
        assert_eq!(faults.take("instance/id", || 0.9), Some(Kind::Hang));
        assert_eq!(faults.take("instance/id", || 0.9), None);
        assert_eq!(faults.take("instance/id", || 0.1), Some(Kind::Garbage));
    }

    #[test]
    fn faults_are_written_as_the_documentation_says() {
        for (text, fault) in [
            (
                r#"{"kind": "status", "status": 503, "times": 3}"#,
                Fault::times(Kind::Status { status: 503 }, 3),
            ),
            (
                r#"{"kind": "drip", "milliseconds": 20, "path": "instance/", "probability": 0.25}"#,
                Fault::always(Kind::Drip { milliseconds: 20 })
                    .below("instance/")
                    .with_probability(0.25),
            ),
            (r#"{"kind": "no-flavor"}"#, Fault::always(Kind::NoFlavor)),
        ] {
            let read: Fault = serde_json::from_str(text).unwrap();
            assert_eq!(read, fault);
            let written = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&written).unwrap(), fault);
        }
        let unknown = serde_json::from_str::<Fault>(r#"{"kind": "what"}"#).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            format!("unknown variant `what`, expected one of {KINDS}")
        );
    }

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        let milliseconds = 5;
        let to = "http://other.example/".to_owned();
        for kind in [
            Kind::Status { status: 429 },
            Kind::Hang,
            Kind::Delay { milliseconds },
            Kind::Garbage,
            Kind::NotJson,
            Kind::Truncated,
            Kind::Drip { milliseconds },
            Kind::NoFlavor,
            Kind::WrongFlavor,
            Kind::WrongType,
            Kind::NoEtag,
            Kind::Redirect { to },
            Kind::Reset,
            Kind::Close,
            Kind::Oversized,
        ] {
            let fault = Fault::times(kind, 2);
            let written = serde_json::to_string(&fault).unwrap();
            let read: Fault = serde_json::from_str(&written).unwrap();
            assert_eq!(read, fault, "{written}");
        }
    }

    #[test]
    fn half_a_body_claims_to_be_whole() {
        let Delivery::Bytes(bytes) = Kind::Truncated.apply(Response::json("12345678")) else {
            panic!()
        };
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.contains("Content-Length: 8\r\n") && text.ends_with("\r\n\r\n1234"),
            "{text}"
        );
    }
}
