//! Sets of processors, in the two forms in which the kernel reads and writes them (cpuset(7), "FORMATS").

use std::fmt::{self, Write};
use std::iter::successors;

/// No machine has this many processors; a larger number in a file is a mistake.
const LIMIT: u32 = 1 << 16;

/// The processors of one group of a mask.
const GROUP: u32 = 32;

/// A set of processors, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    /// Bit `n` of word `w` stands for processor `32 w + n`; the last word is never zero.
    words: Vec<u32>,
}

impl CpuSet {
    /// The set of one processor.
    #[must_use]
    pub fn one(cpu: u32) -> Self {
        [cpu].into_iter().collect()
    }

    /// The processors from 0 to `count` - 1.
    #[must_use]
    pub fn first(count: u32) -> Self {
        (0..count).collect()
    }

    /// Reads a list such as `0-3,8`; `None` for anything else. The empty text is the empty set.
    #[must_use]
    pub fn parse_list(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for word in text.trim().split(',').filter(|word| !word.is_empty()) {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last >= LIMIT {
                return None;
            }
            set.insert_from(first, last);
        }
        Some(set)
    }

    /// Reads a mask such as `00000001,80000000`: groups of 32 bits in hexadecimal, the highest first.
    #[must_use]
    pub fn parse_mask(text: &str) -> Option<Self> {
        let groups: Option<Vec<u32>> = text
            .trim()
            .rsplit(',')
            .map(|group| match group.len() {
                1..=8 => u32::from_str_radix(group, 16).ok(),
                _ => None,
            })
            .collect();
        let mut set = Self { words: groups? };
        set.trim();
        Some(set)
    }

    /// The set as a mask of whole groups, wide enough for `count` processors and for the highest in the set.
    #[must_use]
    pub fn mask(&self, count: u32) -> String {
        let wide = usize::try_from(count.div_ceil(GROUP)).unwrap_or_default();
        let groups = self.words.len().max(wide).max(1);
        let group = |index: usize| self.words.get(index).copied().unwrap_or_default();
        let mut mask = String::with_capacity(9 * groups);
        for index in (0..groups).rev() {
            let comma = if mask.is_empty() { "" } else { "," };
            // A String takes everything.
            let _ = write!(mask, "{comma}{:08x}", group(index));
        }
        mask
    }

    /// Adds a processor. One beyond every machine is left out.
    pub fn insert(&mut self, cpu: u32) {
        self.insert_from(cpu, cpu);
    }

    /// Adds the processors from `first` to `last`, a word at a time.
    fn insert_from(&mut self, first: u32, last: u32) {
        if last >= LIMIT {
            return;
        }
        let (low, high) = ((first / GROUP) as usize, (last / GROUP) as usize);
        if high >= self.words.len() {
            self.words.resize(high + 1, 0);
        }
        for index in low..=high {
            let mut word = u32::MAX;
            if index == low {
                word &= u32::MAX << (first % GROUP);
            }
            if index == high {
                word &= u32::MAX >> (GROUP - 1 - last % GROUP);
            }
            self.words[index] |= word;
        }
    }

    /// Takes a processor out.
    pub fn remove(&mut self, cpu: u32) {
        if let Some(word) = self.words.get_mut((cpu / GROUP) as usize) {
            *word &= !(1 << (cpu % GROUP));
            self.trim();
        }
    }

    /// The processors of both sets.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        other.iter().for_each(|cpu| self.insert(cpu));
        self
    }

    /// The processors, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        successors(self.next(0, 0), |cpu| self.next(cpu + 1, 0))
    }

    /// The first processor from `start` on that is in the set, or with the bits of all words turned over, that is not.
    fn next(&self, start: u32, turned: u32) -> Option<u32> {
        let mut wanted = u32::MAX << (start % GROUP);
        for (index, word) in (0..).zip(&self.words).skip((start / GROUP) as usize) {
            let bits = (word ^ turned) & wanted;
            if bits != 0 {
                return Some(index * GROUP + bits.trailing_zeros());
            }
            wanted = u32::MAX;
        }
        None
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<T: IntoIterator<Item = u32>>(cpus: T) -> Self {
        let mut set = Self::default();
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

impl fmt::Display for CpuSet {
    /// As a list with ranges, `0-3,8`; nothing for the empty set.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut start, mut comma) = (0, "");
        while let Some(first) = self.next(start, 0) {
            // In the last word, or after it, every processor may be in the set.
            let end = self.next(first, u32::MAX);
            start = end.unwrap_or_else(|| self.words.len() as u32 * GROUP);
            match start - 1 {
                last if last == first => write!(formatter, "{comma}{first}")?,
                last => write!(formatter, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_groups_of_32_bits_the_highest_first() {
        for (list, count, mask) in [
            ("", 1, "00000000"),
            ("0", 1, "00000001"),
            ("0-31", 32, "ffffffff"),
            ("32", 33, "00000001,00000000"),
            ("0,63", 64, "80000000,00000001"),
            ("64", 65, "00000001,00000000,00000000"),
            ("0-9,44-55", 128, "00000000,00000000,00fff000,000003ff"),
            (
                "3",
                416,
                "00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,\
                        00000000,00000000,00000000,00000000,00000008",
            ),
        ] {
            let set = CpuSet::parse_list(list).unwrap();
            assert_eq!(set.mask(count), mask, "{list}");
            assert_eq!(CpuSet::parse_mask(mask).unwrap(), set, "{mask}");
            assert_eq!(set.to_string(), list);
        }
        // As the kernel writes them, and as people do.
        assert_eq!(CpuSet::parse_mask("3\n").unwrap().to_string(), "0-1");
        assert_eq!(CpuSet::parse_mask("1,00000000").unwrap().to_string(), "32");
    }

    #[test]
    fn what_is_no_set_is_none() {
        for text in ["x", "1-", "3-1", "-1", "0-99999999", "1 2"] {
            assert_eq!(CpuSet::parse_list(text), None, "{text}");
        }
        for text in ["", "g", "123456789", "1,,1", "-1"] {
            assert_eq!(CpuSet::parse_mask(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_set_survives_both_forms(cpus in proptest::collection::btree_set(0_u32..1024, 0..64), count in 1_u32..1024) {
            let set: CpuSet = cpus.iter().copied().collect();
            prop_assert!(set.iter().eq(cpus.iter().copied()));
            prop_assert_eq!(set.count() as usize, cpus.len());
            prop_assert_eq!(&CpuSet::parse_list(&set.to_string()).unwrap(), &set);
            prop_assert_eq!(&CpuSet::parse_mask(&set.mask(count)).unwrap(), &set);
            let mut emptied = set.clone();
            for cpu in &cpus {
                emptied.remove(*cpu);
            }
            prop_assert_eq!(emptied, CpuSet::default());
        }
    }
}
