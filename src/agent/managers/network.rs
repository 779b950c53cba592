//! One pass over the network, as the agent reports it.

use crate::agent::report::{Change, Input, Report};
use crate::network::{self, Action, Interface, State};
use crate::system::netlink::NetlinkError;
use crate::system::order::{Map, Set};
use crate::system::root::Root;
use crate::system::time;

/// Brings forwarded addresses in line with metadata.
pub(super) fn reconcile(input: &Input) -> Report {
    let pass = match network::reconcile(&input.document, &input.settings, &state(), time::now()) {
        Ok(pass) => pass,
        Err(error) => return unreadable(&error),
    };
    Report {
        changes: changes(&pass.done, &pass.lines),
        failures: pass.unfinished().map(told).collect(),
        problems: problems(&pass.problems, &pass.pending),
        ..Report::default()
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(input: &Input) -> Report {
    if !input.settings.daemons.network_daemon {
        return Report::default();
    }
    let observed = match network::observe(&state()) {
        Ok(observed) => observed,
        Err(error) => return unreadable(&error),
    };
    let plan = network::plan(&input.document, &input.settings, &observed);
    Report {
        changes: plan.changes.iter().map(single).collect(),
        problems: problems(&plan.problems, &plan.pending),
        ..Report::default()
    }
}

/// One change by itself.
fn single(change: &network::Change) -> Change {
    let interface = &change.interface;
    let route = vec![route(change)];
    let (before, after) = if change.adds() {
        (Vec::new(), route)
    } else {
        (route, Vec::new())
    };
    Change {
        what: change.to_string(),
        subject: Some(format!("interface {}", interface.name)),
        key: key(change),
        before,
        after,
    }
}

fn state() -> State {
    State::at(Root::machine())
}

/// The changes of each interface as one: `lines` has a line for each interface, in their order. The way to the metadata
/// server is told by itself.
fn changes(done: &[network::Change], lines: &[String]) -> Vec<Change> {
    let mut interfaces: Map<&Interface, Change> = Map::new();
    for change in done.iter().filter(|change| change.is_forwarding()) {
        let whole = interfaces.get_or_insert_with(&change.interface, Change::default);
        whole.subject = Some(format!("interface {}", change.interface.name));
        let routes = if change.adds() {
            &mut whole.after
        } else {
            &mut whole.before
        };
        routes.push(route(change));
    }
    for (interface, whole) in &mut interfaces {
        let here = done.iter().filter(|change| change.interface == **interface);
        let keys: Set<String> = here.filter_map(key).collect();
        whole.key = Some(keys.into_iter().collect::<Vec<_>>().join(", "));
    }
    let told = interfaces.into_values().zip(lines);
    let forwarded = told.map(|(change, line)| Change {
        what: line.trim_end_matches('.').to_owned(),
        ..change
    });
    let others = done.iter().filter(|change| !change.is_forwarding());
    forwarded.chain(others.map(single)).collect()
}

/// The route as `ip route` has it.
fn route(change: &network::Change) -> String {
    let prefix = network::routes::text(change.prefix());
    let (interface, protocol) = (&change.interface.name, change.route.protocol);
    let kind = if change.is_forwarding() { "local " } else { "" };
    let via = change
        .route
        .via
        .map_or_else(String::new, |via| format!(" via {via}"));
    format!("{kind}{prefix}{via} dev {interface} proto {protocol}")
}

fn key(change: &network::Change) -> Option<String> {
    Some(match change.action {
        Action::Add(origin) => origin.to_string(),
        Action::ReachMetadataServer | Action::Remove(_) => "instance/network-interfaces".into(),
    })
}

fn problems(problems: &[network::Problem], pending: &[network::Pending]) -> Map<String, String> {
    let pending = pending.iter().map(ToString::to_string);
    let problems = problems.iter().map(ToString::to_string);
    problems.chain(pending).map(told).collect()
}

fn told(message: String) -> (String, String) {
    let text = message.trim_end_matches('.').to_owned();
    (message, text)
}

fn unreadable(error: &NetlinkError) -> Report {
    Report::failed(
        "state",
        format!("cannot read the state of the network: {error}"),
    )
}
