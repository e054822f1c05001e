//! A directory that is open to every account, because the program may change to any of them.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::under_test::{binary, is_original};

pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("chmod 777");
        Scratch(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Contents of the output `name`, as text. 1.4.4 adds the client's address to the name.
    #[track_caller]
    pub fn record(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.record_bytes(name)).into_owned()
    }

    #[track_caller]
    pub fn record_bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.open_record(name).read_to_end(&mut bytes).expect("the record");
        bytes
    }

    #[track_caller]
    pub fn open_record(&self, name: &str) -> File {
        let path = if is_original() { self.only_file_of(name) } else { self.path(name) };
        File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[track_caller]
    fn only_file_of(&self, name: &str) -> PathBuf {
        let mut files: Vec<PathBuf> = fs::read_dir(self.0.path())
            .expect("the scratch directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| is_record_of(path, name))
            .collect();
        assert_eq!(files.len(), 1, "one session recorded in {name}");
        files.remove(0)
    }

    /// A copy of the program under test that any account may execute.
    pub fn copy_of_program(&self, mode: u32) -> PathBuf {
        self.executable(&binary(), "tcpreen", mode)
    }

    /// Copies a file that is to be executed. Another process makes the copy: a child of another test could
    /// inherit a descriptor open for writing, and the file would be busy. An existing file is replaced, not
    /// overwritten, because it may still be executed.
    pub fn executable(&self, file: &Path, name: &str, mode: u32) -> PathBuf {
        let copy = self.path(name);
        let status =
            Command::new("cp").arg("--remove-destination").arg(file).arg(&copy).status().expect("cp");
        assert!(status.success(), "a copy of {}", file.display());
        fs::set_permissions(&copy, Permissions::from_mode(mode)).expect("chmod");
        copy
    }
}

impl Drop for Scratch {
    /// A directory with a mount point in it cannot be removed.
    fn drop(&mut self) {
        for place in mounted_below(self.0.path()) {
            let _ = Command::new("umount").arg("--lazy").arg(place).status();
        }
    }
}

/// Mount points of this thread's namespace, the innermost first.
fn mounted_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = places.filter(|place| place.starts_with(directory)).collect();
    below.reverse();
    below
}

fn is_record_of(path: &Path, name: &str) -> bool {
    let rest = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with('-'))
}
