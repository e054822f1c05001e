//! Rotated files: `FILE.1`, `FILE.2` and so on, the oldest first. A rotated file keeps its name until it is removed,
//! so that other programs can move it at any time.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::fs::{DirEntry, File, read_dir};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{AccessFlags, Uid, UnlinkatFlags, faccessat, unlinkat};
use privsep::sys;

use crate::logger::output::claim;
use crate::logger::output::claim::FileId;
use crate::logger::output::directory::Directory;
use crate::logger::output::reopen;
use crate::messages::Taken;
use crate::policy::NEW_FILE;

/// Maximum length of a file name (`NAME_MAX`).
const LONGEST: usize = 255;

/// Highest number of a part.
const LAST: u64 = 9_999_999_999;

/// Maximum number of names tried for one rotation, which bounds the work if other files have taken them.
const TRIED: u64 = 10_000;

struct RotatedFile {
    number: u64,
    id: FileId,
}

pub(in crate::logger) struct RotatedFiles {
    directory: Directory,
    name: CString,
    /// Maximum number of rotated files; `None` is unlimited.
    keep: Option<u32>,
    /// Finished parts of this output, the oldest first.
    finished: VecDeque<RotatedFile>,
    next: u64,
}

/// Result of [`RotatedFiles::rotate`].
pub(in crate::logger) struct Rotated {
    /// The new file.
    pub(in crate::logger) file: File,
    /// A surplus part that could not be removed, and the reason.
    pub(in crate::logger) stays: Option<(String, io::Error)>,
}

impl RotatedFiles {
    /// Finds the parts of the file with this path, including those of earlier runs.
    pub(in crate::logger) fn of(path: &Path, keep: Option<u32>) -> io::Result<RotatedFiles> {
        let (directory, name) = reopen::split(path)?;
        if name.len() + ".".len() + LAST.to_string().len() > LONGEST {
            return Err(Errno::ENAMETOOLONG.into());
        }
        // The name of a part must be on the disk as soon as its contents are.
        let place = Directory::hold(directory, Taken::OnDisk)?;
        // Checked here, and not when the first part is finished.
        faccessat(&place, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())?;
        let mut found = Vec::new();
        for entry in read_dir(directory)? {
            found.extend(earlier(&entry?, name)?);
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        let next = found.last().map_or(1, |(number, _)| number + 1);
        let ours = found.into_iter().filter_map(|(number, id)| Some(RotatedFile { number, id: id? }));
        Ok(RotatedFiles {
            directory: place,
            name: CString::new(name.as_bytes())?,
            keep,
            finished: ours.collect(),
            next,
        })
    }

    pub(in crate::logger) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Waits until the names of parts are on the disk.
    pub(in crate::logger) fn settle(&self) -> io::Result<()> {
        self.directory.settle()
    }

    pub(in crate::logger) fn exclude(&mut self, others: &[FileId]) {
        self.finished.retain(|part| !others.contains(&part.id));
    }

    /// Renames the current file to the next part and creates a new file with its name. On failure the file keeps its
    /// name.
    pub(in crate::logger) fn rotate(&mut self, file: &File) -> io::Result<Rotated> {
        let found = fstat(file)?;
        let id = FileId::from(found);
        // Another program may have rotated the file, which then has a different name already.
        let number = if self.is(&self.name, id) { Some(self.rename()?) } else { None };
        let flags = OFlag::from_bits_retain(NEW_FILE);
        // The mode of the current file, which may have changed since its creation.
        let mode = Mode::from_bits_truncate(found.st_mode & 0o777);
        match openat(&self.directory, self.name.as_c_str(), flags, mode) {
            Ok(new) => {
                let file = File::from(new);
                claim::lock_next(&file)?;
                self.finished.extend(number.map(|number| RotatedFile { number, id }));
                Ok(Rotated { file, stays: self.remove_oldest().err() })
            }
            Err(errno) => {
                if let Some(number) = number {
                    sys::rename_new(self.directory.as_fd(), &self.part(number), &self.name)?;
                }
                Err(errno.into())
            }
        }
    }

    /// Renames the file to the next part whose name is free; returns the number of the part.
    fn rename(&mut self) -> io::Result<u64> {
        let numbers = self.next..=LAST.min(self.next + TRIED);
        for number in numbers {
            match sys::rename_new(self.directory.as_fd(), &self.name, &self.part(number)) {
                Ok(()) => {
                    self.next = number + 1;
                    return Ok(number);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes the oldest parts above the limit. A file that has the name of a part and another identity belongs to
    /// another program, and stays.
    fn remove_oldest(&mut self) -> Result<(), (String, io::Error)> {
        let most = self.keep.map_or(usize::MAX, |keep| keep as usize);
        while self.finished.len() > most {
            let Some(RotatedFile { number, id }) = self.finished.pop_front() else { break };
            let name = self.part(number);
            if self.is(&name, id) {
                unlinkat(&self.directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                    .map_err(|errno| (name.to_bytes().escape_ascii().to_string(), errno.into()))?;
            }
        }
        Ok(())
    }

    /// Checks whether this name belongs to the file.
    fn is(&self, name: &CString, id: FileId) -> bool {
        let found = fstatat(&self.directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileId::from(found) == id)
    }

    fn part(&self, number: u64) -> CString {
        let name = [self.name.to_bytes(), format!(".{number}").as_bytes()].concat();
        // Neither part of the name contains a NUL.
        CString::new(name).unwrap_or_default()
    }
}

/// Returns the number of a part of `name`, and its identity if an earlier run may have made it.
fn earlier(entry: &DirEntry, name: &OsStr) -> io::Result<Option<(u64, Option<FileId>)>> {
    let Some(number) = number(entry.file_name().as_bytes(), name.as_bytes()) else { return Ok(None) };
    let found = entry.metadata()?;
    let ours = found.is_file() && found.uid() == Uid::effective().as_raw();
    Ok(Some((number, ours.then(|| FileId::new(found.dev(), found.ino())))))
}

/// Parses the number of a part, in the form in which this program writes it: `FILE.7` → 7.
fn number(entry: &[u8], name: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(entry.strip_prefix(name)?.strip_prefix(b".")?).ok()?;
    let number: u64 = digits.parse().ok()?;
    ((1..LAST).contains(&number) && number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_we_would_write_is_the_number_of_a_part() {
        let numbers = ["log.1", "log.20", "log.9999999998"].map(|entry| number(entry.as_bytes(), b"log"));
        assert_eq!(numbers, [Some(1), Some(20), Some(9_999_999_998)]);
        for entry in
            ["log", "log.", "log.0", "log.01", "log.+1", "log.1.gz", "log.9999999999", "log1", "xlog.1"]
        {
            assert_eq!(number(entry.as_bytes(), b"log"), None, "{entry}");
        }
    }

    /// Runs `test` with a file in a new directory, and its parts.
    fn with_parts(keep: Option<u32>, before: &[&str], test: impl FnOnce(&Path, RotatedFiles)) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        for name in before {
            fs::write(directory.path().join(name), *name).expect("a file");
        }
        fs::write(&path, "first").expect("a file");
        test(&path, RotatedFiles::of(&path, keep).expect("parts"));
    }

    fn rotate(path: &Path, parts: &mut RotatedFiles) -> Rotated {
        parts.rotate(&File::options().append(true).open(path).expect("the file")).expect("a new file")
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = read_dir(path.parent().expect("a directory")).expect("entries");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_parts_are_removed_those_of_earlier_runs_first() {
        with_parts(Some(2), &["log.3", "log.7", "log.7x"], |path, mut parts| {
            rotate(path, &mut parts);
            assert_eq!(names(path), ["log", "log.7", "log.7x", "log.8"]);
            rotate(path, &mut parts);
            assert_eq!(names(path), ["log", "log.7x", "log.8", "log.9"]);
        });
    }

    #[test]
    fn what_came_into_the_way_stays_and_what_took_the_name_of_a_part_too() {
        with_parts(Some(1), &[], |path, mut parts| {
            fs::create_dir(path.with_extension("1")).expect("mkdir");
            std::os::unix::fs::symlink("nowhere", path.with_extension("2")).expect("a link");
            rotate(path, &mut parts);
            assert_eq!(fs::read(path.with_extension("3")).expect("the part"), b"first");
            fs::rename(path.with_extension("3"), path.with_extension("taken")).expect("rename");
            fs::write(path.with_extension("3"), "not a part").expect("a file");
            rotate(path, &mut parts);
            assert_eq!(names(path), ["log", "log.1", "log.2", "log.3", "log.4", "log.taken"]);
        });
    }

    #[test]
    fn a_file_that_somebody_else_renamed_is_left_with_its_name() {
        with_parts(None, &[], |path, mut parts| {
            let file = File::options().append(true).open(path).expect("the file");
            fs::rename(path, path.with_extension("elsewhere")).expect("rename");
            parts.rotate(&file).expect("a new file");
            assert_eq!(names(path), ["log", "log.elsewhere"]);
        });
    }

    #[test]
    fn where_no_new_file_can_be_made_the_old_one_has_its_name_back() {
        with_parts(None, &[], |path, mut parts| {
            let file = File::options().append(true).open(path).expect("the file");
            fs::rename(path, path.with_extension("elsewhere")).expect("rename");
            std::os::unix::fs::symlink("nowhere", path).expect("a link");
            assert!(parts.rotate(&file).is_err());
            assert_eq!(names(path), ["log", "log.elsewhere"]);
        });
    }

    #[test]
    fn other_outputs_are_no_parts() {
        with_parts(Some(1), &["log.1", "log.2"], |path, mut parts| {
            let other = File::open(path.with_extension("1")).expect("another output");
            parts.exclude(&[FileId::of(&other).expect("fstat")]);
            rotate(path, &mut parts);
            assert_eq!(names(path), ["log", "log.1", "log.3"]);
        });
    }
}
