//! `--pidfile`

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::support::daemon::Daemon;
use crate::support::nobody;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

fn with_file(file: &Path) -> Tcpreen {
    Tcpreen::to(80).args([Path::new("--pidfile"), file])
}

fn number_in(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok()
}

#[track_caller]
fn refuses(tcpreen: Tcpreen, words: &str) {
    let outcome = tcpreen.run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(outcome.stderr.contains("PID file error: ") && outcome.stderr.contains(words), "{outcome:?}");
}

#[test]
fn the_file_has_our_number_as_long_as_we_run() {
    let scratch = Scratch::new();
    let file = scratch.path("pid");
    let tcpreen = with_file(&file).start();
    assert_eq!(number_in(&file), Some(tcpreen.pid().as_raw()));
    assert_eq!(fs::metadata(&file).expect("the file").mode() & 0o022, 0, "nobody else may write it");
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
    assert!(!file.exists());
}

#[test]
fn a_second_start_with_the_same_file_is_refused_and_touches_nothing() {
    let scratch = Scratch::new();
    let (file, record) = (scratch.path("pid"), scratch.path("record"));
    let tcpreen = with_file(&file).start();
    fs::write(&record, "of the first").expect("a file");
    refuses(with_file(&file).output(&record), &format!("process {} runs", tcpreen.pid()));
    assert_eq!(number_in(&file), Some(tcpreen.pid().as_raw()));
    assert_eq!(fs::read_to_string(&record).expect("a file"), "of the first");
}

#[test]
fn a_stale_pidfile_is_taken_over() {
    let scratch = Scratch::new();
    let file = scratch.path("pid");
    let first = with_file(&file).start();
    first.signal(Signal::SIGKILL);
    first.finish();
    assert!(file.exists());
    let second = with_file(&file).start();
    assert_eq!(number_in(&file), Some(second.pid().as_raw()));
}

#[test]
fn a_file_that_is_something_else_is_refused_and_stays() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (uid, gid) = nobody();
    let scratch = Scratch::new();
    let places = ["thesis", "link", "pipe", "directory", "of-nobody", "two-names"];
    let [thesis, link, pipe, directory, of_nobody, two_names] = places.map(|name| scratch.path(name));
    fs::write(&thesis, "1. Introduction").expect("a file");
    fs::write(&two_names, "1\n").expect("a file");
    fs::write(&of_nobody, "1\n").expect("a file");
    std::os::unix::fs::chown(&of_nobody, Some(uid.as_raw()), Some(gid.as_raw())).expect("chown");
    fs::hard_link(&two_names, scratch.path("name")).expect("link");
    symlink(&thesis, &link).expect("symlink");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o666)).expect("mkfifo");
    fs::create_dir(&directory).expect("mkdir");

    let refuses = |file: &Path, words: &str| refuses(with_file(file).args(["-u", "nobody"]), words);
    refuses(&thesis, "its content is not a process id");
    refuses(&link, "Too many levels of symbolic links");
    refuses(&pipe, "");
    refuses(&directory, "Is a directory");
    refuses(&of_nobody, "not a PID file of this user");
    refuses(&two_names, "not a PID file of this user");
    refuses(Path::new("/proc/version"), "");
    refuses(&scratch.path("no/such/directory"), "No such file or directory");
    assert_eq!(fs::read_to_string(&thesis).expect("a file"), "1. Introduction");
    assert_eq!(fs::read_to_string(&of_nobody).expect("a file"), "1\n");
}

#[test]
fn a_file_that_took_its_place_is_not_removed() {
    let scratch = Scratch::new();
    let file = scratch.path("pid");
    let tcpreen = with_file(&file).start();
    fs::remove_file(&file).expect("rm");
    fs::write(&file, "another one's\n").expect("a file");
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.finish();
    assert_eq!(fs::read_to_string(&file).expect("a file"), "another one's\n");
}

/// A directory that only root may write to.
fn directory_of_root(scratch: &Scratch) -> PathBuf {
    let directory = scratch.path("of-root");
    fs::create_dir(&directory).expect("mkdir");
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("chmod");
    directory
}

#[test]
fn a_file_made_by_root_belongs_to_root_and_is_locked() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    for file in [scratch.path("pid"), directory_of_root(&scratch).join("pid")] {
        let tcpreen = with_file(&file).args(["-u", "nobody"]).start();
        let found = fs::metadata(&file).expect("the file");
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (0, 0, 0o644), "{}", file.display());
        assert_eq!(number_in(&file), Some(tcpreen.pid().as_raw()));
        let opened = File::options().write(true).open(&file).expect("the file");
        assert!(matches!(opened.try_lock(), Err(TryLockError::WouldBlock)), "it is locked");
    }
}

#[test]
fn a_file_that_can_no_longer_be_removed_is_emptied_and_taken_over() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let file = directory_of_root(&scratch).join("pid");
    for _ in 0..2 {
        let tcpreen = with_file(&file).args(["-u", "nobody"]).start();
        assert_eq!(number_in(&file), Some(tcpreen.pid().as_raw()));
        tcpreen.signal(Signal::SIGTERM);
        assert_eq!(tcpreen.finish().code(), 143);
        assert_eq!(fs::read_to_string(&file).expect("the file stays"), "");
        assert!(File::open(&file).expect("the file").try_lock().is_ok(), "nobody holds it");
    }
}

#[test]
fn the_error_for_an_ordinary_user_names_the_owner_of_the_directory() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let directory = directory_of_root(&scratch);
    let tcpreen = with_file(&directory.join("pid")).binary(scratch.copy_of_program(0o755)).account(nobody());
    let owner = format!("Denied for nobody; {} belongs to root", directory.display());
    refuses(tcpreen, &format!("Permission denied ({})\n{owner}", directory.join("pid").display()));
}

#[test]
fn a_set_uid_start_creates_no_file_that_its_caller_could_not() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o4755);
    let file = scratch.path("pid");
    let as_caller = |file: &Path| with_file(file).binary(program.clone()).account(nobody());
    drop(as_caller(&file).start());
    refuses(as_caller(Path::new("/etc/tcpreen-test.pid")), "Permission denied");
    refuses(as_caller(Path::new("/etc/passwd")), "Permission denied");
}

#[test]
fn the_pidfile_of_a_daemon_exists_when_the_command_returns() {
    let echo = echo_server();
    let daemon = Daemon::new();
    let file = daemon.path("pid");
    daemon.start(daemon.command(echo.port).args([Path::new("--pidfile"), &file]));
    assert_eq!(number_in(&file), Some(daemon.pid().as_raw()));
    daemon.signal(Signal::SIGTERM);
    daemon.all_gone();
    until("the end of the file", || (!file.exists()).then_some(()));
}

#[test]
fn a_start_that_fails_leaves_none() {
    let scratch = Scratch::new();
    let file = scratch.path("pid");
    let outcome = with_file(&file).output("/no/such/directory/record").run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(!file.exists());
}
