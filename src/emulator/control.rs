//! The control port: changes from outside while the emulator runs. Listen on loopback only; there is no protection.

use serde_json::{Value, json};

use crate::emulator::fault::Fault;
use crate::emulator::http::{Request, Response};
use crate::emulator::live::Live;
use crate::emulator::store::{Store, StoreError};

/// Answers a request to the control port.
///
/// | Request | Effect |
/// | --- | --- |
/// | `GET /metadata` | the whole tree |
/// | `PUT /metadata[/PATH]` | replaces it, or what is at the path, with the JSON of the body |
/// | `PATCH /metadata[/PATH]` | merges the JSON of the body (RFC 7386) |
/// | `DELETE /metadata/PATH` | takes away what is at the path |
/// | `GET /faults`, `PUT /faults`, `POST /faults`, `DELETE /faults` | the faults on order: show, replace, add, none |
/// | `GET /requests` | the last requests |
/// | `GET /state` | how many hanging GETs, requests and connections |
#[must_use]
pub fn answer(live: &Live, request: &Request) -> Response {
    let path = request.path.trim_matches('/');
    let (subject, rest) = path.split_once('/').unwrap_or((path, ""));
    match (request.method.as_str(), subject) {
        ("GET", "metadata") if rest.is_empty() => {
            Response::json(live.read(|store| store.tree().to_string()))
        }
        ("PUT" | "PATCH" | "DELETE", "metadata") => {
            metadata(live, &request.method, rest, &request.body)
        }
        (_, "faults") if rest.is_empty() => faults(live, request),
        ("GET", "requests") if rest.is_empty() => {
            let seen = live.requests();
            let seen: Vec<Value> = seen
                .iter()
                .map(|seen| json!({"method": seen.method, "target": seen.target}))
                .collect();
            Response::json(Value::from(seen).to_string())
        }
        ("GET", "state") if rest.is_empty() => {
            let now = live.observed();
            let state = json!({"waiting": now.waiting, "requests": now.requests, "connections": now.connections});
            Response::json(state.to_string())
        }
        ("GET" | "PUT" | "PATCH" | "POST" | "DELETE", "metadata" | "requests" | "state") => {
            Response::error(405, "see docs/metadata.md for what the control port takes")
        }
        _ => Response::error(
            404,
            "the control port has /metadata, /faults, /requests and /state",
        ),
    }
}

fn metadata(live: &Live, method: &str, path: &str, body: &[u8]) -> Response {
    if method == "DELETE" {
        return if live.remove(path) {
            Response::text("")
        } else {
            Response::error(404, "there is nothing at that path")
        };
    }
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return Response::error(400, &format!("the body is not JSON: {error}")),
    };
    let result: Result<(), StoreError> = live.change(|store| match (method, path) {
        ("PUT", "") => Store::new(value).map(|new| *store = new),
        ("PUT", path) => store.set(path, value),
        (_, path) => store.patch(path, &value),
    });
    match result {
        Ok(()) => Response::text(""),
        Err(error) => Response::error(400, &error.to_string()),
    }
}

fn faults(live: &Live, request: &Request) -> Response {
    let read = || -> Result<Vec<Fault>, serde_json::Error> {
        serde_json::from_slice(&request.body)
            .or_else(|_| serde_json::from_slice(&request.body).map(|fault| vec![fault]))
    };
    match request.method.as_str() {
        "GET" => {}
        "DELETE" => live.set_faults(Vec::new()),
        "PUT" | "POST" => match read() {
            Err(error) => return Response::error(400, &format!("the body is no fault: {error}")),
            Ok(faults) if request.method == "PUT" => live.set_faults(faults),
            Ok(faults) => faults.into_iter().for_each(|fault| live.inject(fault)),
        },
        _ => return Response::error(405, "faults are shown, replaced, added and removed"),
    }
    let faults: Vec<Value> = live
        .faults()
        .iter()
        .filter_map(|fault| serde_json::to_value(fault).ok())
        .collect();
    Response::json(Value::from(faults).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(live: &Live, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request {
            method: method.into(),
            path: path.into(),
            body: body.into(),
            ..Request::default()
        };
        let response = answer(live, &request);
        (response.status, String::from_utf8(response.body).unwrap())
    }

    #[test]
    fn the_tree_is_replaced_merged_and_cut() {
        let live = Live::new(Store::example());
        assert_eq!(
            asked(&live, "PUT", "/metadata/instance/attributes/a", "\"1\"").0,
            200
        );
        assert_eq!(
            asked(
                &live,
                "PATCH",
                "/metadata",
                r#"{"instance": {"attributes": {"b": "2"}}}"#
            )
            .0,
            200
        );
        assert_eq!(
            asked(&live, "DELETE", "/metadata/instance/attributes/a", "").0,
            200
        );
        assert_eq!(
            asked(&live, "DELETE", "/metadata/instance/attributes/a", "").0,
            404
        );
        let attributes = live.read(|store| store.tree()["instance"]["attributes"].clone());
        assert_eq!(attributes, json!({"b": "2"}));
        assert_eq!(asked(&live, "PUT", "/metadata", "{}").0, 200);
        assert_eq!(asked(&live, "GET", "/metadata", ""), (200, "{}".into()));
        for (method, path, body, status) in [
            ("PUT", "/metadata", "[]", 400),
            ("PUT", "/metadata", "{", 400),
            ("POST", "/metadata", "{}", 405),
            ("GET", "/what", "", 404),
        ] {
            assert_eq!(
                asked(&live, method, path, body).0,
                status,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn faults_are_ordered_one_or_many() {
        let live = Live::new(Store::example());
        assert_eq!(
            asked(&live, "POST", "/faults", r#"{"kind": "hang"}"#).0,
            200
        );
        assert_eq!(
            asked(
                &live,
                "POST",
                "/faults",
                r#"[{"kind": "reset", "times": 2}]"#
            )
            .0,
            200
        );
        assert_eq!(live.faults().len(), 2);
        assert_eq!(asked(&live, "PUT", "/faults", r#"{"kind": "what"}"#).0, 400);
        assert_eq!(asked(&live, "PUT", "/faults", "[]"), (200, "[]".into()));
        assert!(live.faults().is_empty());
    }
}
