//! The memory of this process: keeping it small at the start, and giving back between two bursts of work what only the burst
//! needed. Machines of the smallest type have 600 MiB for everything.

use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{Advice, madvise};

use super::files;

/// Where the kernel lists what is mapped into this process (proc_pid_maps(5)).
const MAPS: &str = "/proc/self/maps";

/// How much of that list is read, in bytes; ours has some 10 KB.
const LARGEST_LIST: u64 = 1 << 20;

/// Makes all threads share one arena of the C library (mallopt(3)). By default each gets one of its own, of which it keeps
/// some pages for good; threads that mostly sleep gain nothing by it. To be called before the first thread starts.
#[expect(unsafe_code, reason = "a setting of the C library's allocator")]
pub fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is not needed while the process sleeps: free memory of the heap, and the pages of code that were mapped
/// in for work that is done. The code stays in the page cache, from where the next work maps what it runs: some
/// microseconds for each 64 KiB.
///
/// # Errors
/// The list of mappings cannot be read.
pub fn give_back() -> io::Result<()> {
    trim_heap();
    let maps = files::read_stream(MAPS.as_ref(), LARGEST_LIST)?;
    for code in code_of_files(&String::from_utf8_lossy(&maps)) {
        // Advice that is not taken costs some memory, and nothing else.
        let _ = release(code);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a request to the C library's allocator")]
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and gives back to the kernel only what is free (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A range of addresses: its beginning, and how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    length: usize,
}

/// The code that is mapped from files: ranges that nobody may write, now or ever (what the dynamic linker protects after it
/// has filled it in is not executable), so that the file has all of their contents.
fn code_of_files(maps: &str) -> impl Iterator<Item = Range> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let path = fields.nth(3)?;
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        let is_code = permissions == "r-xp" && path.starts_with('/');
        let length = end.checked_sub(start)?;
        is_code.then_some(Range { start, length })
    })
}

/// Unmaps the pages of a range until they are run again.
#[expect(unsafe_code, reason = "advice about memory is by address")]
fn release(code: Range) -> rustix::io::Result<()> {
    let start = ptr::with_exposed_provenance_mut::<c_void>(code.start);
    // SAFETY: the range is code that was mapped from a file and that nothing writes: what is unmapped comes back as it was,
    // from the file. A range that is gone by now is refused, and one that took its place is a mapping of code as well,
    // since nothing in this process maps or unmaps data with a right to run it.
    unsafe { madvise(start, code.length, Advice::LinuxDontNeed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_that_nothing_writes_is_released() {
        let maps = "\
55d0a0000000-55d0a0001000 r--p 00000000 fe:01 1    /usr/bin/gce-guest
55d0a0001000-55d0a0003000 r-xp 00001000 fe:01 1    /usr/bin/gce-guest
55d0a0003000-55d0a0004000 rw-p 00003000 fe:01 1    /usr/bin/gce-guest
55d0a1003000-55d0a1004000 rwxp 00003000 fe:01 1    /usr/bin/odd
55d0b0000000-55d0b0021000 rw-p 00000000 00:00 0    [heap]
7f0000000000-7f0000001000 r-xp 00000000 00:00 0
7f0000002000-7f0000005000 r-xs 00000000 fe:01 2    /usr/lib/shared
7f0000006000-7f0000007000 r-xp 00000000 fe:01 2    /usr/lib/with a space (deleted)
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0    [vdso]
nonsense
";
        let range = |start, length| Range { start, length };
        let found: Vec<Range> = code_of_files(maps).collect();
        assert_eq!(
            found,
            [
                range(0x55d0_a000_1000, 0x2000),
                range(0x7f00_0000_6000, 0x1000)
            ]
        );
    }

    #[test]
    fn the_program_runs_on_with_less() {
        let resident = || {
            let status = files::read_stream("/proc/self/status".as_ref(), LARGEST_LIST).unwrap();
            let status = String::from_utf8(status).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("RssFile:"))
                .unwrap();
            line.split_ascii_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let before = resident();
        give_back().unwrap();
        let after = resident();
        assert!(after < before, "{after} KiB of files instead of {before}");
    }
}
