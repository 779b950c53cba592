//! Order: lists that are sorted, and maps and sets of what an iterator gives.
//!
//! The standard library compiles its sort for each type of item, and for each iterator that a `BTreeMap` or `BTreeSet` is
//! collected from: five kilobytes each, and with some sixty of them a twentieth of the program. It is made for millions of
//! items; ours are users, routes and messages. Here the sorting is compiled once, for places in a list.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

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

/// An iterator whose items go into a map or a set, one after the other.
pub trait Gather: Iterator + Sized {
    /// A map; of several values for a key, the last stays.
    fn into_map<K: Ord, V>(self) -> BTreeMap<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut map = BTreeMap::new();
        map.extend(self);
        map
    }

    /// A set.
    fn into_set(self) -> BTreeSet<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = BTreeSet::new();
        set.extend(self);
        set
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use super::*;

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
        fn what_is_gathered_is_what_is_collected(items: Vec<(u8, u8)>) {
            let map: BTreeMap<u8, u8> = items.iter().copied().collect();
            prop_assert_eq!(items.iter().copied().into_map(), map);
            let set: BTreeSet<(u8, u8)> = items.iter().copied().collect();
            prop_assert_eq!(items.into_iter().into_set(), set);
        }
    }
}
