//! From a request to an answer, by the public documentation of the metadata server. Pure: no sockets, no waiting.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::emulator::accounts;
use crate::emulator::http::{Request, Response};
use crate::emulator::oslogin;
use crate::emulator::store::Store;
use crate::emulator::tree::Node;
use crate::system::order::InOrder;

/// The path below which the tree is.
const ROOT: &str = "/computeMetadata/v1";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer.
    Answer(Response),
    /// The answer, after the store has changed.
    Changed(Response),
    /// No answer before the store changes there, or before the time is over.
    Wait(Waiting),
}

/// A hanging GET.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    path: Vec<String>,
    form: Form,
    /// The version from which a change is waited for.
    since: Option<String>,
    /// How long at most; `None` for no end.
    pub at_most: Option<Duration>,
}

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    recursive: bool,
    json: bool,
}

impl Waiting {
    /// The answer as soon as there is another version than the one that the client has.
    #[must_use]
    pub fn answer_if_changed(&self, store: &Store) -> Option<Response> {
        (store.etag(&self.path) != self.since).then(|| self.answer(store))
    }

    /// The answer as it is now, changed or not.
    #[must_use]
    pub fn answer(&self, store: &Store) -> Response {
        show(store, &self.path, self.form)
    }

    /// What it waits for, without how long: hanging GETs for which this is the same get the same answer.
    #[must_use]
    pub fn subject(&self) -> impl std::hash::Hash + Eq + use<> {
        (self.path.clone(), self.form, self.since.clone())
    }
}

/// Answers a request, or says what it waits for.
#[must_use]
pub fn answer(store: &mut Store, request: &Request, now: Timestamp) -> Outcome {
    let path = request.path.as_str();
    match path {
        "/" => return Outcome::Answer(Response::text("computeMetadata/\n")),
        "/computeMetadata/" => return Outcome::Answer(Response::text("v1/\n")),
        "/computeMetadata" | ROOT => return Outcome::Answer(to_directory(request)),
        _ => {}
    }
    let Some(key) = path.strip_prefix("/computeMetadata/v1/") else {
        return Outcome::Answer(not_found(request));
    };
    if let Some(refusal) = refusal(request) {
        return Outcome::Answer(refusal);
    }
    let Ok(names) = decode(key) else {
        return Outcome::Answer(Response::error(400, "the path is not UTF-8"));
    };
    if is_guest_attribute(&names) && !store.guest_attributes_enabled() {
        let body = "Guest attributes endpoint access is disabled.\n";
        return Outcome::Answer(Response::new(403, "text/html; charset=UTF-8", body));
    }
    match request.method.as_str() {
        "GET" | "HEAD" => get(
            store,
            &names,
            key.ends_with('/') || key.is_empty(),
            request,
            now,
        ),
        "PUT" | "DELETE" if is_guest_attribute(&names) => write(store, &names, request),
        _ => Outcome::Answer(Response::error(405, "only guest attributes can be written")),
    }
}

/// Why a request is not from a program that means it (the documentation's protection against forwarding).
fn refusal(request: &Request) -> Option<Response> {
    if request.header("x-forwarded-for").is_some() {
        return Some(Response::error(
            403,
            "requests with X-Forwarded-For are not answered.",
        ));
    }
    let legacy = request.header("x-google-metadata-request");
    let flavor = request.header("metadata-flavor");
    if flavor != Some("Google") && !legacy.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Some(Response::error(
            403,
            "Missing Metadata-Flavor:Google header.",
        ));
    }
    None
}

fn decode(key: &str) -> Result<Vec<String>, std::str::Utf8Error> {
    key.split('/')
        .filter(|name| !name.is_empty())
        .map(|name| percent_decode_str(name).decode_utf8().map(String::from))
        .collect()
}

fn is_guest_attribute(names: &[String]) -> bool {
    matches!(names, [instance, guest, ..]
        if instance == "instance" && matches!(guest.as_str(), "guest-attributes" | "guestAttributes"))
}

fn get(store: &Store, names: &[String], slash: bool, request: &Request, now: Timestamp) -> Outcome {
    if let Some(response) = accounts::answer(store, names, request, now) {
        return Outcome::Answer(response);
    }
    if let [first, endpoint] = names
        && first == "oslogin"
        && let Some(response) = oslogin::answer(store.tree(), endpoint, request)
    {
        return Outcome::Answer(response);
    }
    let Some(node) = store.node(names) else {
        return Outcome::Answer(not_found(request));
    };
    if node.is_directory() && !slash {
        return Outcome::Answer(to_directory(request));
    }
    if !node.is_directory() && slash {
        return Outcome::Answer(not_found(request));
    }
    let recursive = request.is_set("recursive");
    let form = match request.parameter("alt") {
        None => Form {
            recursive,
            json: recursive,
        },
        Some("json") => Form {
            recursive,
            json: true,
        },
        Some("text") => Form {
            recursive,
            json: false,
        },
        Some(_) => return Outcome::Answer(Response::error(400, "alt is json or text")),
    };
    let waiting = match waiting(store, names, form, request) {
        Ok(waiting) => waiting,
        Err(problem) => return Outcome::Answer(Response::error(400, problem)),
    };
    match waiting {
        None => Outcome::Answer(show(store, names, form)),
        Some(waiting) => match waiting.answer_if_changed(store) {
            Some(response) => Outcome::Answer(response),
            None if waiting.at_most == Some(Duration::ZERO) => {
                Outcome::Answer(show(store, names, form))
            }
            None => Outcome::Wait(waiting),
        },
    }
}

/// The hanging GET that a request asks for. Without `last_etag` it waits for the next change.
fn waiting(
    store: &Store,
    names: &[String],
    form: Form,
    request: &Request,
) -> Result<Option<Waiting>, &'static str> {
    let at_most = match request.parameter("timeout_sec").map(str::parse) {
        None => None,
        Some(Ok(seconds)) => Some(Duration::from_secs(seconds)),
        Some(Err(_)) => return Err("timeout_sec is a number of seconds"),
    };
    if !request.is_set("wait_for_change") {
        return Ok(None);
    }
    let since = match request.parameter("last_etag") {
        Some(etag) => Some(etag.to_owned()),
        None => store.etag(names),
    };
    Ok(Some(Waiting {
        path: names.to_vec(),
        form,
        since,
        at_most,
    }))
}

/// What is at a path, in the form that is wanted.
fn show(store: &Store, names: &[String], form: Form) -> Response {
    let Some(node) = store.node(names) else {
        return Response::error(404, "the key has gone");
    };
    let is_listing = node.is_directory() && !form.recursive;
    if form.json && !is_listing {
        return match store.json(names) {
            Some((json, etag)) => Response::json(json).with_etag(Some(etag)),
            None => Response::error(404, "the key has gone"),
        };
    }
    let response = if !node.is_directory() {
        Response::text(node.text())
    } else if form.recursive {
        Response::text(node.recursive_text())
    } else {
        let entries = listing(node, names);
        if form.json {
            Response::json(Value::from(entries).to_string())
        } else {
            Response::text(
                entries
                    .iter()
                    .map(|entry| format!("{entry}\n"))
                    .collect::<String>(),
            )
        }
    };
    response.with_etag(store.etag(names))
}

fn listing(node: Node<'_>, names: &[String]) -> Vec<String> {
    let mut entries = node.listing();
    entries.extend(
        accounts::further_names(names)
            .iter()
            .map(ToString::to_string),
    );
    entries.put_in_order();
    entries
}

fn write(store: &mut Store, names: &[String], request: &Request) -> Outcome {
    let [_, _, namespace, key] = names else {
        return Outcome::Answer(Response::error(400, "a guest attribute is NAMESPACE/KEY"));
    };
    let path = format!("instance/guestAttributes/{namespace}/{key}");
    if request.method == "DELETE" {
        return if store.remove(&path) {
            Outcome::Changed(Response::text(""))
        } else {
            Outcome::Answer(not_found(request))
        };
    }
    let Ok(value) = String::from_utf8(request.body.clone()) else {
        return Outcome::Answer(Response::error(400, "the value is not UTF-8"));
    };
    match store.set(&path, Value::String(value)) {
        Ok(()) => Outcome::Changed(Response::text("")),
        Err(error) => Outcome::Answer(Response::error(400, &error.to_string())),
    }
}

fn to_directory(request: &Request) -> Response {
    let host = request.header("host").unwrap_or("metadata.google.internal");
    let mut response = Response::error(301, "the name of a directory ends in a slash");
    response.location = Some(format!("http://{host}{}/{}", request.path, request.query));
    response
}

fn not_found(request: &Request) -> Response {
    Response::error(
        404,
        &format!(
            "the requested URL {} was not found on this server.",
            request.path
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::http::{Parsed, parse};

    fn request(method: &str, target: &str, headers: &str, body: &str) -> Request {
        let text = format!(
            "{method} {target} HTTP/1.1\r\nHost: metadata\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match parse(text.as_bytes()) {
            Parsed::Whole(request, _) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn asked(store: &mut Store, method: &str, key: &str, body: &str) -> Outcome {
        let target = format!("/computeMetadata/v1/{key}");
        let request = request(method, &target, "Metadata-Flavor: Google\r\n", body);
        answer(store, &request, Timestamp::UNIX_EPOCH)
    }

    fn got(key: &str) -> (u16, &'static str, String) {
        match asked(&mut Store::example(), "GET", key, "") {
            Outcome::Answer(response) => {
                let body = String::from_utf8(response.body).unwrap();
                (response.status, response.content_type, body)
            }
            other => panic!("{other:?}"),
        }
    }

    const TEXT: &str = "application/text";
    const JSON: &str = "application/json";
    const HTML: &str = "text/html; charset=UTF-8";

    #[expect(clippy::too_many_lines, reason = "a table, one line for each rule")]
    #[test]
    fn values_listings_and_forms_are_the_documented_ones() {
        for (key, status, kind, body) in [
            ("", 200, TEXT, "instance/\noslogin/\nproject/\nuniverse/\n"),
            (
                "project/",
                200,
                TEXT,
                "attributes/\nnumeric-project-id\nproject-id\n",
            ),
            (
                "project/?alt=json",
                200,
                JSON,
                "[\"attributes/\",\"numeric-project-id\",\"project-id\"]",
            ),
            ("project/project-id", 200, TEXT, "example-project"),
            (
                "project/project-id?alt=json",
                200,
                JSON,
                "\"example-project\"",
            ),
            (
                "project/numeric-project-id?alt=json",
                200,
                JSON,
                "123456789012",
            ),
            (
                "instance/virtual-clock/drift-token?alt=json",
                200,
                JSON,
                "\"0\"",
            ),
            ("instance/maintenance-event", 200, TEXT, "NONE"),
            (
                "project/?recursive=true",
                200,
                JSON,
                "{\"attributes\":{},\"numericProjectId\":123456789012,\"projectId\":\"example-project\"}",
            ),
            (
                "project/?recursive=True&alt=text",
                200,
                TEXT,
                "numeric-project-id 123456789012\nproject-id example-project\n",
            ),
            (
                "instance/service-accounts/",
                200,
                TEXT,
                "123456789012-compute@developer.gserviceaccount.com/\ndefault/\n",
            ),
            (
                "instance/service-accounts/default/",
                200,
                TEXT,
                "aliases\nemail\nidentity\nscopes\ntoken\n",
            ),
            (
                "instance/service-accounts/default/scopes",
                200,
                TEXT,
                "https://www.googleapis.com/auth/cloud-platform\n",
            ),
            (
                "instance/guest-attributes/",
                403,
                HTML,
                "Guest attributes endpoint access is disabled.\n",
            ),
        ] {
            assert_eq!(got(key), (status, kind, body.to_owned()), "{key}");
        }
    }

    #[test]
    fn what_is_not_there_or_no_question_gets_its_status() {
        for (key, status) in [
            ("instance/what", 404),
            ("project/project-id/", 404),
            ("instance", 301),
            ("instance?recursive=true", 301),
            ("project/project-id?alt=xml", 400),
            ("?timeout_sec=x", 400),
            ("instance/%ff", 400),
        ] {
            assert_eq!(got(key).0, status, "{key}");
        }
    }

    #[test]
    fn a_directory_without_a_slash_is_moved() {
        let response = asked(
            &mut Store::example(),
            "GET",
            "instance/disks?recursive=true",
            "",
        );
        let Outcome::Answer(response) = response else {
            panic!("{response:?}")
        };
        assert_eq!(
            response.location.as_deref(),
            Some("http://metadata/computeMetadata/v1/instance/disks/?recursive=true")
        );
    }

    #[test]
    fn headers_decide_who_is_answered() {
        for (headers, status) in [
            ("", 403),
            ("Metadata-Flavor: google\r\n", 403),
            ("Metadata-Flavor: Google\r\n", 200),
            ("X-Google-Metadata-Request: True\r\n", 200),
            (
                "Metadata-Flavor: Google\r\nX-Forwarded-For: 10.0.0.1\r\n",
                403,
            ),
        ] {
            let request = request("GET", "/computeMetadata/v1/instance/id", headers, "");
            let outcome = answer(&mut Store::example(), &request, Timestamp::UNIX_EPOCH);
            let Outcome::Answer(response) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(response.status, status, "{headers}");
        }
        for (target, status) in [
            ("/", 200),
            ("/computeMetadata/", 200),
            ("/computeMetadata", 301),
            ("/what", 404),
        ] {
            let outcome = answer(
                &mut Store::example(),
                &request("GET", target, "", ""),
                Timestamp::UNIX_EPOCH,
            );
            let Outcome::Answer(response) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(
                (response.status, response.flavor),
                (status, Some("Google")),
                "{target}"
            );
        }
    }

    #[test]
    fn only_a_known_version_is_waited_on() {
        let mut store = Store::example();
        let etag = store.etag(&[]).unwrap();
        let wait = |store: &mut Store, query: &str| {
            asked(
                store,
                "GET",
                &format!("?recursive=true&wait_for_change=true{query}"),
                "",
            )
        };
        let is_answer = |outcome: &Outcome| matches!(outcome, Outcome::Answer(response) if response.status == 200);
        for now in [
            "&last_etag=0",
            "&last_etag=NONE",
            "&last_etag=%0d%0a",
            &format!("&last_etag={etag}&timeout_sec=0"),
        ] {
            assert!(is_answer(&wait(&mut store, now)), "{now}");
        }
        for query in [
            String::new(),
            format!("&last_etag={etag}"),
            "&timeout_sec=60".to_owned(),
        ] {
            let Outcome::Wait(waiting) = wait(&mut store, &query) else {
                panic!("{query}")
            };
            assert_eq!(waiting.answer_if_changed(&store), None);
            assert_eq!(waiting.at_most.is_some(), query.contains("timeout_sec"));
            let mut changed = store.clone();
            changed.set("instance/attributes/a", json!("b")).unwrap();
            let response = waiting.answer_if_changed(&changed).unwrap();
            assert_eq!(response.etag, changed.etag(&[]));
        }
        let other = asked(
            &mut store,
            "GET",
            "project/?recursive=true&wait_for_change=true",
            "",
        );
        let Outcome::Wait(other) = other else {
            panic!("{other:?}")
        };
        store.set("instance/attributes/a", json!("b")).unwrap();
        assert_eq!(
            other.answer_if_changed(&store),
            None,
            "only what is below counts"
        );
        store.remove("project/projectId");
        assert!(other.answer_if_changed(&store).is_some());
    }

    #[test]
    fn guest_attributes_are_written_where_they_are_enabled() {
        let mut store = Store::example();
        let put = |store: &mut Store, key: &str| match asked(store, "PUT", key, "value") {
            Outcome::Answer(response) => (response.status, false),
            Outcome::Changed(response) => (response.status, true),
            Outcome::Wait(_) => panic!(),
        };
        let key = "instance/guest-attributes/host-keys/a%20b";
        assert_eq!(put(&mut store, key), (403, false));
        store
            .set("instance/attributes/enable-guest-attributes", json!("TRUE"))
            .unwrap();
        assert_eq!(put(&mut store, key), (200, true));
        assert_eq!(
            store.tree()["instance"]["guestAttributes"],
            json!({"host-keys": {"a b": "value"}})
        );
        assert_eq!(put(&mut store, "instance/guest-attributes/a"), (400, false));
        assert_eq!(
            put(&mut store, "instance/guest-attributes/a/b/c"),
            (400, false)
        );
        assert_eq!(put(&mut store, "instance/attributes/a"), (405, false));
        let deleted = asked(&mut store, "DELETE", key, "");
        assert!(matches!(deleted, Outcome::Changed(_)), "{deleted:?}");
        assert!(
            matches!(asked(&mut store, "GET", key, ""), Outcome::Answer(response) if response.status == 404)
        );
    }
}
