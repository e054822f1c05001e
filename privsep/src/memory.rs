//! Protection of a process's memory: memory that is or was writable never becomes executable (`PR_SET_MDWE`, Linux
//! 6.3), and the code and constants of the program and its libraries keep place, contents and protection (`mseal`,
//! Linux 6.10).
//!
//! Best effort, because the filters refuse most of the same calls. Both protections are inherited by fork and cannot
//! be undone.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::sys;

/// The protections that were found to be in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// No memory becomes executable.
    pub mdwe: bool,
    /// Code and constants are sealed.
    pub sealed: bool,
}

/// Applies both protections to this process. Needs `/proc`.
pub fn protect() -> Memory {
    Memory { mdwe: sys::refuse_exec_gain(), sealed: seal_program() }
}

/// Seals all mappings of the program and its libraries that are not writable. Returns `true` if all of them are
/// sealed.
fn seal_program() -> bool {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return false };
    let fixed = fixed_mappings(&maps);
    !fixed.is_empty() && fixed.iter().all(|mapping| sys::seal(&mapping.range, mapping.is('x')))
}

/// Returns the mappings, in the form of `/proc/PID/maps`, that are readable, not writable, and belong to a file with
/// an executable mapping. Data files that a library maps and unmaps are left alone.
fn fixed_mappings(maps: &str) -> Vec<Mapping<'_>> {
    let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::parse).collect();
    let executable: BTreeSet<&str> =
        mappings.iter().filter(|mapping| mapping.is('x')).map(|mapping| mapping.path).collect();
    let fixed =
        |mapping: &Mapping<'_>| mapping.is('r') && !mapping.is('w') && executable.contains(mapping.path);
    mappings.into_iter().filter(fixed).collect()
}

/// A line of `/proc/PID/maps` about a file.
struct Mapping<'a> {
    range: Range<usize>,
    protection: &'a str,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    /// Checks for a protection: `r`, `w` or `x`.
    fn is(&self, protection: char) -> bool {
        self.protection.contains(protection)
    }

    /// Parses a line such as `55d0c8a00000-55d0c8a21000 r-xp 00002000 08:01 131 /usr/bin/tcpreen`.
    fn parse(line: &'a str) -> Option<Mapping<'a>> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let protection = rest.split(' ').next()?;
        let path = &line[line.find('/')?..];
        Some(Mapping { range: address(start)?..address(end)?, protection, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
        1000-2000 r--p 00000000 08:01 131 /usr/bin/a program\n\
        2000-3000 r-xp 00001000 08:01 131 /usr/bin/a program\n\
        3000-4000 rw-p 00002000 08:01 131 /usr/bin/a program\n\
        4000-5000 r--s 00000000 08:01 999 /var/cache/nscd/hosts\n\
        5000-6000 rw-p 00000000 00:00 0 [heap]\n\
        6000-7000 r-xp 00000000 00:00 0 [vdso]\n\
        7000-8000 ---p 00000000 08:01 132 /lib/libc.so.6\n\
        8000-9000 r-xp 00001000 08:01 132 /lib/libc.so.6\n";

    #[test]
    fn code_and_constants_are_found_and_nothing_else() {
        let ranges: Vec<_> = fixed_mappings(MAPS).into_iter().map(|mapping| mapping.range).collect();
        assert_eq!(ranges, [0x1000..0x2000, 0x2000..0x3000, 0x8000..0x9000]);
        assert!(fixed_mappings("").is_empty() && fixed_mappings("no line\n-\n1-2 /\n").is_empty());
    }
}
