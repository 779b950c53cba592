//! Order: lists that are sorted, and the maps and sets of the program.
//!
//! The standard library compiles its sort, and its `BTreeMap` and `BTreeSet`, for each type anew: five kilobytes for the sort,
//! and up to sixteen for a map that is collected, searched, changed and taken apart. They are made for millions of items; ours
//! are users, routes and messages. Here the sorting is compiled once, for places in a list, and a [`Map`] or a [`Set`] is a
//! sorted list, for which these sixteen are less than three.
//!
//! Which one to take:
//! * [`Map`] and [`Set`] are for everything that can be collected, or has few keys, or gets them in order. To insert a key
//!   between others, or to remove one, moves all that stand behind it; do not do that thousands of times.
//! * `HashMap` and `HashSet` are for thousands of keys that come and go one by one, in any order.
//! * `BTreeMap` and `BTreeSet` are for tests. `tests/house.rs` holds that.

use std::cmp::Ordering;

mod map;
mod set;

pub use map::{Iter, IterMut, Map};
pub use set::Set;

/// A list that can be put in order.
pub trait InOrder<T> {
    /// Sorts the items; equal ones keep their order.
    fn put_in_order(&mut self)
    where
        T: Ord;

    /// Sorts the items by a key of each, which is asked for once; those with equal keys keep their order.
    fn put_in_order_by<K: Ord>(&mut self, key: impl Fn(&T) -> K);
}

impl<T> InOrder<T> for [T] {
    fn put_in_order(&mut self)
    where
        T: Ord,
    {
        let order = order_of(self.len(), &|left, right| self[left].cmp(&self[right]));
        arrange(self, order);
    }

    fn put_in_order_by<K: Ord>(&mut self, key: impl Fn(&T) -> K) {
        let keys: Vec<K> = self.iter().map(key).collect();
        let order = order_of(keys.len(), &|left, right| keys[left].cmp(&keys[right]));
        arrange(self, order);
    }
}

/// The places of so many items, in the order of the items there.
fn order_of(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|left, right| compare(*left, *right));
    order
}

/// Moves to each place the item of the place that `order` has there.
fn arrange<T>(items: &mut [T], mut order: Vec<usize>) {
    for start in 0..items.len() {
        // One cycle of the permutation; what is done with is its own successor.
        let mut place = start;
        loop {
            let from = std::mem::replace(&mut order[place], place);
            if from == start {
                break;
            }
            items.swap(place, from);
            place = from;
        }
    }
}

/// Puts a list in order and leaves one of each item; of equal ones, the last stays.
fn put_each_once<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let compare = |left: usize, right: usize| compare(&items[left], &items[right]);
    if let Some((order, count)) = order_of_each_once(items.len(), &compare) {
        arrange(items, order);
        items.truncate(count);
    }
}

/// The places of so many items: first the last of each, in the order of the items, and how many these are; then the others.
/// `None` when the items are in order, and each is there once.
fn order_of_each_once(
    count: usize,
    compare: &dyn Fn(usize, usize) -> Ordering,
) -> Option<(Vec<usize>, usize)> {
    if (1..count).all(|place| compare(place - 1, place).is_lt()) {
        return None;
    }
    let (mut order, mut others) = (Vec::with_capacity(count), Vec::new());
    for place in order_of(count, compare) {
        match order.last_mut() {
            Some(last) if compare(*last, place).is_eq() => {
                others.push(std::mem::replace(last, place));
            }
            _ => order.push(place),
        }
    }
    let count = order.len();
    order.append(&mut others);
    Some((order, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_are_in_the_order_of_the_standard_library(items: Vec<(u8, u8)>) {
            let (mut own, mut expected) = (items.clone(), items.clone());
            own.put_in_order();
            expected.sort();
            prop_assert_eq!(&own, &expected);
            // Equal keys: the order of before.
            let (mut own, mut expected) = (items.clone(), items);
            own.put_in_order_by(|item| item.0 / 64);
            expected.sort_by_key(|item| item.0 / 64);
            prop_assert_eq!(own, expected);
        }

        #[test]
        fn maps_do_what_those_of_the_standard_library_do(
            pairs: Vec<(u8, u8)>,
            more: Vec<(u8, u8)>,
            done: Vec<(bool, u8)>,
        ) {
            let mut own: Map<u8, u8> = pairs.iter().copied().collect();
            let mut expected: BTreeMap<u8, u8> = pairs.into_iter().collect();
            own.extend(more.clone());
            expected.extend(more);
            for (value, (inserts, key)) in (0..).zip(done) {
                if inserts {
                    prop_assert_eq!(own.insert(key, value), expected.insert(key, value));
                } else {
                    prop_assert_eq!(own.remove(&key), expected.remove(&key));
                }
                let (other, value) = (key.wrapping_add(1), value / 2);
                let entry = expected.entry(other).or_insert(value);
                prop_assert_eq!(own.get_or_insert_with(other, || value), entry);
                prop_assert_eq!(own.get_mut(&key), expected.get_mut(&key));
            }
            own.retain(|key, value| key % 3 != *value % 3);
            expected.retain(|key, value| key % 3 != *value % 3);
            prop_assert!(own.iter().eq(&expected));
            prop_assert!(own.keys().eq(expected.keys()) && own.values().eq(expected.values()));
            prop_assert_eq!(own.len(), expected.len());
            for key in 0..=u8::MAX {
                prop_assert_eq!(own.get(&key), expected.get(&key));
            }
            prop_assert_eq!(format!("{own:?}"), format!("{expected:?}"));
        }

        #[test]
        fn sets_do_what_those_of_the_standard_library_do(
            items: Vec<(u8, u8)>,
            more: Vec<(u8, u8)>,
            done: Vec<(bool, (u8, u8))>,
        ) {
            let mut own: Set<(u8, u8)> = items.iter().copied().collect();
            let mut expected: BTreeSet<(u8, u8)> = items.into_iter().collect();
            own.extend(more.clone());
            expected.extend(more);
            for (inserts, item) in done {
                if inserts {
                    prop_assert_eq!(own.insert(item), expected.insert(item));
                } else {
                    prop_assert_eq!(own.remove(&item), expected.remove(&item));
                }
                prop_assert_eq!(own.contains(&item), expected.contains(&item));
            }
            own.retain(|item| item.0 % 3 != item.1 % 3);
            expected.retain(|item| item.0 % 3 != item.1 % 3);
            prop_assert!(own.iter().eq(&expected));
            prop_assert_eq!(format!("{own:?}"), format!("{expected:?}"));
        }

        #[test]
        fn maps_and_sets_are_the_same_json(pairs: Vec<(String, Vec<u8>)>, numbers: Vec<(u32, u8)>) {
            let own: Map<String, Set<u8>> = pairs
                .iter()
                .map(|(key, items)| (key.clone(), items.iter().copied().collect()))
                .collect();
            let expected: BTreeMap<String, BTreeSet<u8>> = pairs
                .into_iter()
                .map(|(key, items)| (key, items.into_iter().collect()))
                .collect();
            let text = serde_json::to_string_pretty(&expected).unwrap();
            prop_assert_eq!(&serde_json::to_string_pretty(&own).unwrap(), &text);
            prop_assert_eq!(serde_json::from_str::<Map<String, Set<u8>>>(&text).unwrap(), own);
            // As it may be written by hand: in any order, with keys that come again.
            let parts: Vec<_> = numbers.iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
            let text = format!("{{{}}}", parts.join(","));
            let own: Map<u32, u8> = serde_json::from_str(&text).unwrap();
            let expected: BTreeMap<u32, u8> = serde_json::from_str(&text).unwrap();
            prop_assert!(own.iter().eq(&expected));
        }
    }

    #[test]
    fn what_comes_last_stays_and_nothing_is_an_object() {
        let map = Map::from([("b", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)]);
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [("a", 4), ("b", 5)]);
        assert_eq!(serde_json::to_string(&Map::<u8, u8>::new()).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&Set::<u8>::new()).unwrap(), "[]");
    }
}
