//! The OS Login endpoints: users, groups, authorize, certificates. Pure.
//!
//! The file says who there is:
//!
//! ```json
//! {"oslogin": {
//!   "users": [{"name": "alice@example.com", "policies": ["login", "adminLogin"],
//!              "posixAccounts": [{"username": "alice_example_com", "uid": 1001, "gid": 1001,
//!                                 "homeDirectory": "/home/alice_example_com", "shell": "/bin/bash", "primary": true}],
//!              "sshPublicKeys": {"fingerprint": {"key": "ssh-ed25519 AAAA... alice"}}}],
//!   "groups": [{"name": "developers", "gid": 2001, "members": ["alice_example_com"]}],
//!   "trustedCertificateAuthorities": [{"publicKey": "ssh-ed25519 AAAA..."}]}}
//! ```
//!
//! `policies` and `members` are ours; everything else goes out as it is. The requests are those of the tools in Debian's
//! `google-compute-engine-oslogin`.

use serde_json::{Value, json};

use crate::emulator::http::{Request, Response};

/// How many entries a page has when the request does not say.
const PAGE: usize = 1000;

/// Answers a request for `oslogin/<endpoint>`; `None` for an endpoint that there is not.
#[must_use]
pub fn answer(tree: &Value, endpoint: &str, request: &Request) -> Option<Response> {
    let directory = Directory(tree.get("oslogin"));
    match endpoint {
        "users" => Some(directory.users(request)),
        "groups" => Some(directory.groups(request)),
        "authorize" => Some(directory.authorize(request)),
        "certificates" => Some(directory.certificates()),
        _ => None,
    }
}

struct Directory<'a>(Option<&'a Value>);

impl<'a> Directory<'a> {
    fn list(&self, name: &str) -> impl Iterator<Item = &'a Value> {
        let list = self.0.and_then(|oslogin| oslogin.get(name)?.as_array());
        list.into_iter().flatten()
    }

    fn users(&self, request: &Request) -> Response {
        if let Some(group) = request.parameter("groupname") {
            return self.members(group, request);
        }
        let wanted = |account: &Value| -> Option<bool> {
            if let Some(name) = request.parameter("username") {
                return Some(account.get("username")?.as_str()? == name);
            }
            let uid = request.parameter("uid")?;
            Some(number(account.get("uid")?)? == uid)
        };
        let is_search =
            request.parameter("username").is_some() || request.parameter("uid").is_some();
        let profiles: Vec<Value> = self
            .list("users")
            .filter(|user| {
                let accounts = user.get("posixAccounts").and_then(Value::as_array);
                let mut accounts = accounts.into_iter().flatten();
                !is_search || accounts.any(|account| wanted(account) == Some(true))
            })
            .map(|user| without(user, "policies"))
            .collect();
        answer_list("loginProfiles", profiles, is_search, request)
    }

    fn groups(&self, request: &Request) -> Response {
        let is_search =
            request.parameter("groupname").is_some() || request.parameter("gid").is_some();
        let groups: Vec<Value> = self
            .list("groups")
            .filter(|group| {
                if let Some(name) = request.parameter("groupname") {
                    return group.get("name").and_then(Value::as_str) == Some(name);
                }
                if let Some(email) = request.parameter("email") {
                    return self.is_member(email, group);
                }
                let gid = request.parameter("gid");
                gid.is_none() || group.get("gid").and_then(number).as_deref() == gid
            })
            .map(|group| without(group, "members"))
            .collect();
        answer_list("posixGroups", groups, is_search, request)
    }

    fn members(&self, group: &str, request: &Request) -> Response {
        let found = self
            .list("groups")
            .find(|candidate| candidate.get("name").and_then(Value::as_str) == Some(group));
        match found {
            None => not_found(request),
            Some(found) => {
                let members = found.get("members").and_then(Value::as_array);
                let members = members.cloned().unwrap_or_default();
                answer_list("usernames", members, false, request)
            }
        }
    }

    /// Whether one of the accounts of a user is in a group.
    fn is_member(&self, email: &str, group: &Value) -> bool {
        let user = self
            .list("users")
            .find(|user| user.get("name").and_then(Value::as_str) == Some(email));
        let accounts = user.and_then(|user| user.get("posixAccounts")?.as_array());
        let members = group.get("members").and_then(Value::as_array);
        accounts.into_iter().flatten().any(|account| {
            let name = account.get("username");
            members.is_some_and(|members| members.iter().any(|member| Some(member) == name))
        })
    }

    /// The authorities whose certificates count; none without a word of the file's.
    fn certificates(&self) -> Response {
        let name = "trustedCertificateAuthorities";
        let listed = self.0.and_then(|oslogin| oslogin.get(name));
        let listed = listed.cloned().unwrap_or_else(|| json!([]));
        Response::json(json!({ name: listed }).to_string())
    }

    fn authorize(&self, request: &Request) -> Response {
        let email = request.parameter("email").unwrap_or_default();
        let policy = request.parameter("policy").unwrap_or_default();
        let user = self
            .list("users")
            .find(|user| user.get("name").and_then(Value::as_str) == Some(email));
        let Some(user) = user else {
            return not_found(request);
        };
        let policies = user.get("policies").and_then(Value::as_array);
        let granted = policies
            .into_iter()
            .flatten()
            .any(|granted| granted.as_str() == Some(policy));
        let mut response = Response::json(json!({ "success": granted }).to_string());
        if !granted {
            response.status = 403;
        }
        response
    }
}

/// A page of a list, or all that a search found.
fn answer_list(name: &str, items: Vec<Value>, is_search: bool, request: &Request) -> Response {
    if is_search {
        return if items.is_empty() {
            not_found(request)
        } else {
            Response::json(json!({ name: items }).to_string())
        };
    }
    let parameter = |name: &str| request.parameter(name).and_then(|value| value.parse().ok());
    let start = parameter("pagetoken").unwrap_or(0);
    let size = parameter("pagesize").unwrap_or(PAGE).max(1);
    let total = items.len();
    let page: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let end = start.saturating_add(page.len());
    // "0" is how the real service says that there is no next page. A page of users that says so is taken for empty by the
    // tools, so that the last users need one more page after them.
    let is_last = end >= total && (name != "loginProfiles" || page.is_empty());
    let next = if is_last {
        "0".to_owned()
    } else {
        end.to_string()
    };
    Response::json(json!({ name: page, "nextPageToken": next }).to_string())
}

fn not_found(request: &Request) -> Response {
    Response::error(404, &format!("{} was not found", request.path))
}

fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn without(value: &Value, name: &str) -> Value {
    let mut kept = value.as_object().cloned().unwrap_or_default();
    kept.remove(name);
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(endpoint: &str, query: &str) -> (u16, Value) {
        let tree = json!({"oslogin": {
            "users": [
                {"name": "a@x", "policies": ["login"], "posixAccounts": [{"username": "a", "uid": 1001}]},
                {"name": "b@x", "policies": ["login", "adminLogin"], "posixAccounts": [{"username": "b", "uid": "1002"}]},
                {"name": "c@x", "posixAccounts": []}],
            "groups": [{"name": "g", "gid": 2001, "members": ["a", "b"]}]}});
        let parameters = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let request = Request {
            parameters,
            ..Request::default()
        };
        let response = answer(&tree, endpoint, &request).unwrap();
        let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        (response.status, body)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let expected = json!({"loginProfiles": [{"name": "a@x", "posixAccounts": [{"username": "a", "uid": 1001}]}]});
        assert_eq!(asked("users", "username=a"), (200, expected.clone()));
        assert_eq!(asked("users", "uid=1001"), (200, expected));
        assert_eq!(asked("users", "uid=1002").0, 200);
        assert_eq!(asked("users", "username=nobody").0, 404);
        assert_eq!(asked("users", "uid=1").0, 404);
    }

    #[test]
    fn lists_come_in_pages() {
        let (status, first) = asked("users", "pagesize=2");
        assert_eq!(
            (status, first["loginProfiles"].as_array().unwrap().len()),
            (200, 2)
        );
        assert_eq!(first["nextPageToken"], "2");
        let (_, second) = asked("users", "pagesize=2&pagetoken=2");
        assert_eq!(second["loginProfiles"][0]["name"], "c@x");
        assert_eq!(second["nextPageToken"], "3");
        let (_, third) = asked("users", "pagesize=2&pagetoken=3");
        assert_eq!(
            (&third["loginProfiles"], &third["nextPageToken"]),
            (&json!([]), &json!("0"))
        );
        assert_eq!(asked("groups", "").1["nextPageToken"], "0");
        assert_eq!(
            asked("users", "pagetoken=18446744073709551615").1["loginProfiles"],
            json!([])
        );
    }

    #[test]
    fn groups_and_members_are_found() {
        let group = json!({"posixGroups": [{"name": "g", "gid": 2001}]});
        assert_eq!(asked("groups", "groupname=g"), (200, group.clone()));
        assert_eq!(asked("groups", "gid=2001"), (200, group));
        assert_eq!(asked("groups", "gid=1").0, 404);
        assert_eq!(
            asked("users", "groupname=g").1["usernames"],
            json!(["a", "b"])
        );
        assert_eq!(asked("users", "groupname=h").0, 404);
    }

    #[test]
    fn a_policy_is_granted_or_not() {
        assert_eq!(
            asked("authorize", "email=a@x&policy=login"),
            (200, json!({"success": true}))
        );
        assert_eq!(asked("authorize", "email=a@x&policy=adminLogin").0, 403);
        assert_eq!(asked("authorize", "email=b@x&policy=adminLogin").0, 200);
        assert_eq!(asked("authorize", "email=z@x&policy=login").0, 404);
    }
}
