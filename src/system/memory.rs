//! The memory of this process: keeping it small at the start, and giving back between two bursts of work what only the burst
//! needed. Machines of the smallest type have 600 MiB for everything.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use libc::{Elf64_Phdr, PF_W, PT_LOAD, dl_phdr_info, size_t};
use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

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

/// Gives back what is not needed while the process sleeps: free memory of the heap, and the pages of code and constants that
/// were mapped in for work that is done. Those stay in the page cache, from where the next work maps what it uses: some
/// microseconds for each 64 KiB.
pub fn give_back() {
    trim_heap();
    release_constants();
}

#[expect(unsafe_code, reason = "a request to the C library's allocator")]
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and gives back to the kernel only what is free (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[expect(
    unsafe_code,
    reason = "only the dynamic linker knows what it has mapped"
)]
fn release_constants() {
    // SAFETY: the callback has the type that dl_iterate_phdr(3) asks for, and uses no data.
    unsafe {
        libc::dl_iterate_phdr(Some(release_constants_of), ptr::null_mut());
    }
}

/// Releases what is constant of the program or of one library. No library is unloaded meanwhile: that waits until
/// dl_iterate_phdr(3) is done.
#[expect(unsafe_code, reason = "a callback of the C library gets pointers")]
extern "C" fn release_constants_of(
    object: *mut dl_phdr_info,
    _size: size_t,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the C library hands over a description that is valid during the call.
    let object = unsafe { &*object };
    // SAFETY: the description says where the program headers are and how many; they stay mapped as long as the object.
    let segments = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    for segment in segments {
        if let Some(pages) = constant_pages(object.dlpi_addr, segment, page_size()) {
            // Advice that is not taken costs some memory, and nothing else.
            let _ = release(pages);
        }
    }
    0
}

/// Whole pages: the address of the first, and the length of all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pages {
    start: usize,
    length: usize,
}

/// The pages that belong to a segment alone, if nothing may ever write there (elf(5)). What the dynamic linker fills in and
/// then protects is in segments that can be written.
fn constant_pages(base: u64, segment: &Elf64_Phdr, page: usize) -> Option<Pages> {
    if segment.p_type != PT_LOAD || segment.p_flags & PF_W != 0 {
        return None;
    }
    let start = usize::try_from(base.checked_add(segment.p_vaddr)?).ok()?;
    let end = start.checked_add(usize::try_from(segment.p_memsz).ok()?)?;
    let (start, end) = (start.checked_next_multiple_of(page)?, end - end % page);
    let length = end.checked_sub(start)?;
    (length > 0).then_some(Pages { start, length })
}

/// Unmaps pages until they are used again.
#[expect(unsafe_code, reason = "advice about memory is by address")]
fn release(pages: Pages) -> rustix::io::Result<()> {
    let start = ptr::with_exposed_provenance_mut::<c_void>(pages.start);
    // SAFETY: the pages are those of a file that is mapped, and nothing writes there: what is unmapped comes back from the
    // file as it was.
    unsafe { madvise(start, pages.length, Advice::LinuxDontNeed) }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "test code, which runs itself again"
)]
mod tests {
    use super::*;
    use crate::system::{environment, files};
    use std::process::Command;

    use libc::{PF_R, PF_X, PT_DYNAMIC};

    #[test]
    fn whole_pages_of_segments_that_nothing_writes_are_constant() {
        let pages = |p_type, p_flags, p_vaddr, p_memsz| {
            let segment = Elf64_Phdr {
                p_type,
                p_flags,
                p_offset: 0,
                p_vaddr,
                p_paddr: p_vaddr,
                p_filesz: p_memsz,
                p_memsz,
                p_align: 0x1000,
            };
            constant_pages(0x7f00_0000_0000, &segment, 0x1000)
                .map(|pages| (pages.start - 0x7f00_0000_0000, pages.length))
        };
        assert_eq!(pages(PT_LOAD, PF_R, 0, 0x3000), Some((0, 0x3000)));
        // The first and the last page may be shared with what comes before and after.
        assert_eq!(
            pages(PT_LOAD, PF_R | PF_X, 0x3234, 0x2800),
            Some((0x4000, 0x1000))
        );
        assert_eq!(pages(PT_LOAD, PF_R | PF_X, 0x3234, 0x800), None);
        assert_eq!(pages(PT_LOAD, PF_R | PF_W, 0x6000, 0x3000), None);
        assert_eq!(pages(PT_DYNAMIC, PF_R, 0x6000, 0x3000), None);
        assert_eq!(pages(PT_LOAD, PF_R, u64::MAX - 0x1000, 0x3000), None);
    }

    #[test]
    fn the_program_runs_on_with_less() {
        // In a process of its own: other tests of this program have their pages mapped in again at once.
        const ALONE: &str = "GIVE_BACK_MEMORY";
        if environment::variable(ALONE).is_none() {
            let name = "system::memory::tests::the_program_runs_on_with_less";
            let alone = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(ALONE, "1")
                .output()
                .unwrap();
            let told = String::from_utf8(alone.stdout).unwrap();
            assert!(alone.status.success(), "{told}");
            assert!(told.contains("test result: ok. 1 passed"), "{told}");
            return;
        }
        let resident = || {
            let status = files::read_stream("/proc/self/status".as_ref(), 1 << 20).unwrap();
            let status = String::from_utf8(status).unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:"));
            let amount = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
            amount.parse::<u64>().unwrap()
        };
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before, "{after} KiB of files instead of {before}");
    }
}
