//! Service accounts: made-up access tokens and identity tokens. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use crate::emulator::http::{Request, Response};
use crate::emulator::store::Store;
use crate::emulator::tree::Node;
use crate::system::json::object;

/// How long a made-up token is said to be valid, in seconds.
const VALID: i64 = 3_599;

/// Answers for `instance/service-accounts/<account>/token` and `.../identity`; `None` for everything else.
#[must_use]
pub fn answer(
    store: &Store,
    path: &[String],
    request: &Request,
    now: Timestamp,
) -> Option<Response> {
    let [instance, accounts, name, endpoint] = path else {
        return None;
    };
    if instance != "instance"
        || !matches!(accounts.as_str(), "service-accounts" | "serviceAccounts")
    {
        return None;
    }
    let account = account(store, name)?;
    match endpoint.as_str() {
        "token" => Some(token(account)),
        "identity" => Some(identity(store, account, request, now)),
        _ => None,
    }
}

/// The names below a service account that are no values of the tree.
#[must_use]
pub fn further_names(path: &[String]) -> &'static [&'static str] {
    match path {
        [instance, accounts, _]
            if instance == "instance"
                && matches!(accounts.as_str(), "service-accounts" | "serviceAccounts") =>
        {
            &["identity", "token"]
        }
        _ => &[],
    }
}

/// A service account by its alias or its address, with what only the file knows.
fn account<'a>(store: &'a Store, name: &str) -> Option<Node<'a>> {
    let path = ["instance", "service-accounts"].map(str::to_owned);
    let accounts = Node::root(store.tree()).at(&path)?;
    accounts.child(name).or_else(|| {
        let children = accounts.children().into_iter();
        children
            .map(|(_, child)| child)
            .find(|child| email(*child) == name)
    })
}

fn email(account: Node<'_>) -> &str {
    account
        .value
        .get("email")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The token of the file, or one that is recognisably made up.
fn token(account: Node<'_>) -> Response {
    let body = match account.value.get("token") {
        Some(Value::String(token)) => made_up(token),
        Some(token @ Value::Object(_)) => token.clone(),
        _ => made_up("ya29.made-up-by-the-emulator"),
    };
    Response::json(body.to_string())
}

fn made_up(token: &str) -> Value {
    object([
        ("access_token", token.into()),
        ("expires_in", VALID.into()),
        ("token_type", "Bearer".into()),
    ])
}

/// An identity token: well-formed, with the documented claims, and with a signature that nobody will take.
fn identity(store: &Store, account: Node<'_>, request: &Request, now: Timestamp) -> Response {
    let Some(audience) = request
        .parameter("audience")
        .filter(|audience| !audience.is_empty())
    else {
        return Response::new(
            400,
            "text/html; charset=UTF-8",
            "non-empty audience parameter required\n",
        );
    };
    if let Some(Value::String(token)) = account.value.get("identity") {
        return Response::text(token.clone());
    }
    let issued = now.as_second();
    let mut claims = object([
        ("aud", audience.into()),
        ("azp", "100000000000000000001".into()),
        ("email", email(account).into()),
        ("email_verified", true.into()),
        ("exp", (issued + VALID + 1).into()),
        ("iat", issued.into()),
        ("iss", "https://accounts.google.com".into()),
        ("sub", "100000000000000000001".into()),
    ]);
    if request.parameter("format") == Some("full") {
        let instance = store.tree().get("instance").cloned().unwrap_or_default();
        let project = store.tree().get("project").cloned().unwrap_or_default();
        let zone = instance
            .get("zone")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let id = instance.get("id").map(ToString::to_string);
        let machine = object([
            ("instance_id", id.into()),
            ("instance_name", instance.get("name").cloned().into()),
            ("project_id", project.get("projectId").cloned().into()),
            (
                "project_number",
                project.get("numericProjectId").cloned().into(),
            ),
            ("zone", zone.rsplit('/').next().into()),
        ]);
        claims["google"] = object([("compute_engine", machine)]);
    }
    let header = object([
        ("alg", "RS256".into()),
        ("kid", "made-up".into()),
        ("typ", "JWT".into()),
    ]);
    let parts = [header.to_string(), claims.to_string(), "made-up".to_owned()];
    Response::text(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::store::names;

    fn asked(path: &str, parameters: &[(&str, &str)]) -> Option<Response> {
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let request = Request {
            parameters,
            ..Request::default()
        };
        answer(
            &Store::example(),
            &names(path),
            &request,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn tokens_are_made_up() {
        let token = asked("instance/service-accounts/default/token", &[]).unwrap();
        let token: Value = serde_json::from_slice(&token.body).unwrap();
        assert_eq!(
            (token["token_type"].as_str(), token["expires_in"].as_i64()),
            (Some("Bearer"), Some(3599))
        );
        let address = "123456789012-compute@developer.gserviceaccount.com";
        assert!(asked(&format!("instance/service-accounts/{address}/token"), &[]).is_some());
        assert!(asked("instance/service-accounts/other/token", &[]).is_none());
        assert!(asked("instance/service-accounts/default/email", &[]).is_none());
    }

    #[test]
    fn identities_have_the_documented_claims() {
        let path = "instance/service-accounts/default/identity";
        assert_eq!(asked(path, &[]).unwrap().status, 400);
        let token = asked(path, &[("audience", "https://x"), ("format", "full")]).unwrap();
        let token = String::from_utf8(token.body).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(
            (claims["aud"].as_str(), claims["exp"].as_i64()),
            (Some("https://x"), Some(3600))
        );
        assert_eq!(claims["google"]["compute_engine"]["zone"], "us-central1-f");
    }
}
