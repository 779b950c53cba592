//! Says when a pass over the network is worth while, so that what others break is mended at once (pains.md 1).
//!
//! It only says that something changed, not what: the pass reads the whole state in any case. What does not matter to
//! forwarded addresses and to the way to the metadata server is kept silent: counters and carrier changes, router
//! advertisements, other tables, our own routes being added.

use std::time::{Duration, Instant};

use super::observe::leads_to_metadata_server;
use super::routes::is_metadata_server;
use crate::system::netlink::{
    Address, Event, LOCAL_TABLE, Link, NetlinkError, Socket, Subscription,
};
use crate::system::order::{Map, Set};

/// Changes come in bursts: this long without one ends a burst.
const QUIET: Duration = Duration::from_millis(20);

/// And a burst that does not end is told of after this time.
const LONGEST_BURST: Duration = Duration::from_millis(200);

/// When somebody undoes what we do at once, and we what they do, this many words are free, ...
const FREE_WORDS: u32 = 20;

/// ... and after them there is one in this time. A route is still back within a second.
const PACE: Duration = Duration::from_millis(500);

/// Listens to the kernel, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Monitor {
    subscription: Subscription,
    known: Known,
    pace: Pace,
}

impl Monitor {
    /// Begins to listen: every change after this call is told of.
    ///
    /// # Errors
    /// When the subscription cannot be opened or the present state not be listed.
    pub fn open() -> Result<Self, NetlinkError> {
        let subscription = Subscription::open()?;
        let known = Known::read()?;
        Ok(Self {
            subscription,
            known,
            pace: Pace::default(),
        })
    }

    /// Waits until something that matters has changed and the burst is over, at most `timeout` (`None`: for ever).
    /// Returns whether something has.
    ///
    /// # Errors
    /// When the socket fails. A new monitor, and a pass, are then worth a try.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, NetlinkError> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let events = self.subscription.next(left)?;
            if self.matter(events)? {
                self.drain(QUIET, Instant::now() + LONGEST_BURST)?;
                let word = self.pace.next(Instant::now());
                self.drain(PACE, word)?;
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    /// Hears what comes, until nothing has for `quiet` or it is `until`.
    fn drain(&mut self, quiet: Duration, until: Instant) -> Result<(), NetlinkError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let events = self.subscription.next(Some(quiet.min(left)))?;
            if events.is_empty() {
                return Ok(());
            }
            self.matter(events)?;
        }
    }

    fn matter(&mut self, events: Vec<Event>) -> Result<bool, NetlinkError> {
        let mut any = false;
        for event in events {
            if event == Event::Lost {
                self.known = Known::read()?;
                any = true;
            } else {
                any |= self.known.matters(event);
            }
        }
        Ok(any)
    }
}

impl Iterator for Monitor {
    type Item = Result<(), NetlinkError>;

    /// Waits for the next change, however long it takes.
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.wait(None).map(drop))
    }
}

/// Spaces words out when there are too many: a leaky bucket.
#[derive(Debug, Default)]
struct Pace {
    /// When the bucket will be empty.
    empty: Option<Instant>,
}

impl Pace {
    /// The time for the next word, which takes its place.
    fn next(&mut self, now: Instant) -> Instant {
        let empty = self.empty.map_or(now, |empty| empty.max(now));
        self.empty = Some(empty + PACE);
        empty
            .checked_sub(PACE * FREE_WORDS)
            .map_or(now, |at| at.max(now))
    }
}

/// The state that events are compared with, because the kernel also tells of what stays as it is.
#[derive(Debug, Default)]
struct Known {
    links: Map<u32, Link>,
    addresses: Set<Address>,
}

impl Known {
    fn read() -> Result<Self, NetlinkError> {
        let mut socket = Socket::open()?;
        Ok(Self {
            links: socket
                .links()?
                .into_iter()
                .map(|link| (link.index, link))
                .collect(),
            addresses: socket.addresses()?.into_iter().collect(),
        })
    }

    /// Takes an event in. Returns whether it may have made a pass necessary.
    fn matters(&mut self, event: Event) -> bool {
        match event {
            Event::Link(link) => {
                let before = self.links.insert(link.index, link.clone());
                before != Some(link)
            }
            Event::LinkGone(link) => {
                self.links.remove(&link.index);
                true
            }
            // An address that goes takes IPv4 routes of ours along, and the kernel does not tell.
            Event::AddressGone(address) => {
                self.addresses.remove(&address);
                true
            }
            Event::Address(address) => self.addresses.insert(address),
            // One that takes the place of another may have taken ours.
            // A new default route may be the way to the metadata server.
            Event::Route { route, replaces } => {
                replaces && route.table == LOCAL_TABLE
                    || leads_to_metadata_server(&route) && !is_metadata_server(route.destination)
            }
            // Ours is to be put back; one of somebody else may have kept us from adding ours.
            Event::RouteGone(route) => {
                route.table == LOCAL_TABLE || leads_to_metadata_server(&route)
            }
            Event::Lost => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_free_and_a_fight_is_paced() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut now = start;
        let delays: Vec<_> = (0..40)
            .map(|_| {
                let at = pace.next(now);
                let delay = at - now;
                now = at + Duration::from_millis(20);
                delay
            })
            .collect();
        let free = FREE_WORDS as usize;
        assert!(delays[..free].iter().all(Duration::is_zero), "{delays:?}");
        let limit = PACE;
        assert!(delays.iter().all(|delay| *delay <= limit), "{delays:?}");
        assert!(
            delays[free + 2..].iter().all(|delay| *delay > PACE / 2),
            "{delays:?}"
        );
        // Peace gives the free words back.
        let later = now + PACE * (FREE_WORDS + 1);
        assert_eq!(pace.next(later), later);
        assert_eq!(pace.next(later), later);
    }
}
