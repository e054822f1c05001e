//! SIGHUP to a daemon: its outputs continue in new files, and together with the old ones they are complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{chown, mkfifo};

use crate::support::daemon::{Daemon, Syslogd};
use crate::support::nobody;
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server, Service, Traffic, echo_server};
use crate::support::record::read_raw;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

const TOLD: [Need; 2] = [Need::Root, Need::MountNamespace];

/// A daemon with a record in its own directory.
struct Rotating {
    daemon: Daemon,
    echo: Service<Traffic>,
    record: PathBuf,
}

impl Rotating {
    fn new(daemon: Daemon) -> Self {
        let directory = daemon.path("logs");
        fs::create_dir(&directory).expect("mkdir");
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).expect("chmod");
        Rotating { record: directory.join("record"), echo: echo_server(), daemon }
    }

    fn start(&self) {
        self.daemon.start(self.daemon.command(self.echo.port).output(&self.record));
    }

    fn started() -> Self {
        let rotating = Rotating::new(Daemon::new());
        rotating.start();
        rotating
    }

    fn rotated(&self) -> PathBuf {
        self.record.with_extension("1")
    }

    fn mv(&self) {
        fs::rename(&self.record, self.rotated()).expect("rename");
    }

    /// Rotates once and waits until it has happened.
    fn rotate(&self) {
        self.mv();
        self.daemon.signal(Signal::SIGHUP);
        appears(&self.record);
    }

    /// Runs a session and waits until it is in this file.
    fn recorded_in(&self, path: &Path, words: &str) {
        self.daemon.echo(words);
        contains(path, words);
    }
}

fn appears(path: &Path) {
    until("the new file", || path.exists().then_some(()));
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn contains(path: &Path, words: &str) {
    until(words, || text(path).contains(words).then_some(()));
}

fn permissions(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).expect("a file");
    (found.mode(), found.uid(), found.gid())
}

/// Sends a burst for each order received.
fn send_bursts(mut client: Peer, bursts: &Receiver<()>) -> Traffic {
    let mut payload = Payload::new(28, u64::MAX);
    let mut burst = vec![0; 256 * 1024];
    for () in bursts {
        payload.read_exact(&mut burst).expect("a payload never ends");
        client.send(&burst);
    }
    client.finish();
    client.expect_end();
    client.traffic()
}

#[test]
fn a_hundred_rotations_under_load_lose_and_double_nothing() {
    const ROTATIONS: usize = 100;
    let Rotating { daemon, record, .. } = Rotating::new(Daemon::new());
    let server = Server::listen().serve(|mut peer: Peer| {
        peer.read_to_end_hashing();
        peer.traffic()
    });
    daemon.start(daemon.command(server.port).at_once(1).format("raw").output(&record));
    let (more, bursts) = sync_channel(4);
    let client = daemon.connect();
    let client = thread::spawn(move || send_bursts(client, &bursts));
    let mut parts: Vec<PathBuf> = Vec::new();
    for number in 1..=ROTATIONS {
        // There is always data in flight when the file is renamed.
        while more.try_send(()).is_ok() {}
        until("bytes in this file", || (fs::metadata(&record).ok()?.len() > 0).then_some(()));
        let part = record.with_extension(number.to_string());
        fs::rename(&record, &part).expect("rename");
        parts.push(part);
        daemon.signal(Signal::SIGHUP);
        appears(&record);
    }
    drop(more);
    let sent = client.join().expect("the client").sent;
    assert_eq!(server.result().received, sent);
    daemon.signal(Signal::SIGTERM);
    daemon.all_gone();

    parts.push(record);
    assert!(parts[..ROTATIONS].iter().all(|part| fs::metadata(part).expect("a part").len() > 0));
    let empty: Box<dyn Read> = Box::new(io::empty());
    let whole =
        parts.iter().fold(empty, |before, part| Box::new(before.chain(File::open(part).expect("a part"))));
    assert_eq!(read_raw(whole).client(), sent);
}

#[test]
fn a_new_file_has_the_mode_and_the_owner_of_the_old_one() {
    if !needs(&[Need::Root]) {
        return; // Only root may change to another user.
    }
    let it = Rotating::new(Daemon::new());
    let secrets = it.record.with_file_name("secrets");
    let command = it.daemon.command(it.echo.port).args(["-u", "nobody"]).output(&it.record);
    let command = command.format("password").output(&secrets).by_shell("umask 027", "");
    it.daemon.start(command);
    let before = [&it.record, &secrets].map(|path| permissions(path));
    assert_eq!(before.map(|(mode, ..)| mode & 0o7777), [0o640, 0o600]);
    assert_eq!(before.map(|(_, uid, _)| uid), [nobody().0.as_raw(); 2]);
    fs::rename(&secrets, secrets.with_extension("1")).expect("rename");
    // Rotates without a connected client.
    it.rotate();
    appears(&secrets);
    assert_eq!([&it.record, &secrets].map(|path| permissions(path)), before);
}

#[test]
fn a_new_file_for_passwords_is_private() {
    let it = Rotating::new(Daemon::new());
    it.daemon.start(it.daemon.command(it.echo.port).format("password").output(&it.record));
    let owner = fs::metadata(&it.record).expect("the record").uid();
    it.mv();
    fs::write(&it.record, "").expect("a new file");
    chown(&it.record, Some(owner.into()), None).expect("chown");
    fs::set_permissions(&it.record, Permissions::from_mode(0o666)).expect("chmod");
    it.daemon.signal(Signal::SIGHUP);
    until("a private file", || (permissions(&it.record).0 & 0o7777 == 0o600).then_some(()));
}

#[test]
fn rotation_keeps_existing_contents_of_the_new_file() {
    let it = Rotating::started();
    it.mv();
    fs::write(&it.record, "# begun by somebody else\n").expect("a new file");
    fs::set_permissions(&it.record, Permissions::from_mode(0o666)).expect("chmod");
    it.daemon.signal(Signal::SIGHUP);
    until("a record in it", || {
        it.daemon.echo("words");
        text(&it.record).contains("<<< words\n").then_some(())
    });
    assert!(text(&it.record).starts_with("# begun by somebody else\n"), "{}", text(&it.record));
}

#[test]
fn sighup_rotates_in_the_foreground_without_a_terminal() {
    let it = Rotating::new(Daemon::new());
    let command = Tcpreen::to(it.echo.port).listen_at(it.daemon.place()).output(&it.record);
    let mut foreground = command.by_shell("trap '' HUP", "").start();
    let mut client = it.daemon.connect();
    client.send("before");
    client.expect("before");
    contains(&it.record, ">>> before");
    it.mv();
    foreground.signal(Signal::SIGHUP);
    appears(&it.record);
    client.send("after");
    client.expect("after");
    contains(&it.record, ">>> after");
    assert!(foreground.is_running() && !text(&it.rotated()).contains("after"));
}

#[test]
fn a_session_goes_on_in_the_new_file() {
    let it = Rotating::started();
    let mut client = it.daemon.connect();
    client.send("before");
    client.expect("before");
    contains(&it.record, ">>> before");
    it.rotate();
    client.send("after");
    client.expect("after");
    client.finish();
    client.expect_end();
    contains(&it.record, "End of transmission.\n");
    let (old, new) = (text(&it.rotated()), text(&it.record));
    assert!(old.contains("Connection from") && !old.contains("after") && !old.contains("End of"), "{old}");
    assert!(new.contains("<<< after\n") && !new.contains("before") && !new.contains("Connection"), "{new}");
}

#[test]
fn the_logger_also_handles_sighup() {
    let it = Rotating::started();
    it.mv();
    for pid in it.daemon.processes() {
        kill(pid, Signal::SIGHUP).expect("kill");
    }
    appears(&it.record);
    it.recorded_in(&it.record, "everybody was told");
    it.mv();
    let logger = it.daemon.with_role("logger");
    logger.into_iter().for_each(|pid| kill(pid, Signal::SIGHUP).expect("kill"));
    appears(&it.record);
    it.recorded_in(&it.record, "the logger was told");
}

#[test]
fn a_file_behind_a_link_is_rotated_where_it_is() {
    let it = Rotating::new(Daemon::new());
    let elsewhere = it.daemon.path("elsewhere");
    fs::create_dir(&elsewhere).expect("mkdir");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o777)).expect("chmod");
    let target = elsewhere.join("target");
    symlink(&target, &it.record).expect("a link");
    it.start();
    fs::rename(&target, target.with_extension("1")).expect("rename");
    it.daemon.signal(Signal::SIGHUP);
    appears(&target);
    it.recorded_in(&target, "behind the link");
    // Removing a link is a rotation, too.
    it.rotate();
    it.recorded_in(&it.record, "beside the link");
    assert!(fs::symlink_metadata(&it.record).expect("a file").is_file());
}

#[test]
fn files_of_sessions_stay_with_their_sessions() {
    let it = Rotating::new(Daemon::new());
    let own = |number| it.record.with_file_name(format!("{number}.txt"));
    it.daemon.start(it.daemon.command(it.echo.port).output(&it.record).output(own("%n")));
    let mut client = it.daemon.connect();
    client.send("before");
    client.expect("before");
    contains(&own("1"), ">>> before");
    fs::rename(own("1"), own("old")).expect("rename");
    it.rotate();
    client.send("after");
    client.expect("after");
    contains(&own("old"), ">>> after");
    assert!(!own("1").exists());
}

#[test]
fn a_file_that_is_emptied_gets_no_hole() {
    let it = Rotating::started();
    let mut client = it.daemon.connect();
    client.send("before");
    client.expect("before");
    contains(&it.record, ">>> before");
    File::options().write(true).open(&it.record).expect("the record").set_len(0).expect("ftruncate");
    client.send("after");
    client.expect("after");
    contains(&it.record, ">>> after");
    let found = text(&it.record);
    assert!(!found.contains('\0') && !found.contains("before"), "{found:?}");
    assert!(found.trim_start_matches(['\n', '[', '1', ']', ' ']).starts_with("<<< after\n"), "{found:?}");
}

/// A daemon of `nobody`, with a syslogd.
fn told() -> (Rotating, Syslogd) {
    let it = Rotating::new(Daemon::with_dev_log());
    let syslogd = it.daemon.syslogd();
    it.daemon.start(it.daemon.command(it.echo.port).args(["-u", "nobody"]).output(&it.record));
    (it, syslogd)
}

/// Expects the old file to continue, with a notice, and a new file once the obstacle is gone.
fn goes_on_with_the_old_file(it: &Rotating, syslogd: &Syslogd, reason: &str, clear: impl FnOnce()) {
    it.daemon.signal(Signal::SIGHUP);
    let error = syslogd.next_with("Log file error");
    assert!(error.starts_with("<27>"), "{error}");
    let text = format!("]: Log file error: {reason} ({}): going on with the old file", it.record.display());
    assert!(error.ends_with(&text), "{error}");
    it.recorded_in(&it.rotated(), "in the old file");
    clear();
    it.daemon.signal(Signal::SIGHUP);
    appears(&it.record);
    it.recorded_in(&it.record, "in the new file");
}

#[test]
fn rotation_into_a_closed_directory_is_reported_and_keeps_the_old_file() {
    if !needs(&TOLD) {
        return;
    }
    let (it, syslogd) = told();
    it.mv();
    let directory = it.daemon.path("logs");
    let chmod = |mode| fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("chmod");
    chmod(0);
    goes_on_with_the_old_file(&it, &syslogd, "Permission denied", || chmod(0o777));
}

#[test]
fn a_pipe_without_a_reader_is_reported_and_the_old_file_continues() {
    if !needs(&TOLD) {
        return;
    }
    let (it, syslogd) = told();
    it.mv();
    mkfifo(&it.record, Mode::from_bits_truncate(0o666)).expect("mkfifo");
    fs::set_permissions(&it.record, Permissions::from_mode(0o666)).expect("chmod");
    let clear = || fs::remove_file(&it.record).expect("unlink");
    goes_on_with_the_old_file(&it, &syslogd, "No such device or address", clear);
}

#[test]
fn a_file_of_another_user_is_reported_and_the_old_file_continues() {
    if !needs(&TOLD) {
        return;
    }
    let (it, syslogd) = told();
    it.mv();
    fs::write(&it.record, "").expect("root's file");
    let clear = || fs::remove_file(&it.record).expect("unlink");
    goes_on_with_the_old_file(&it, &syslogd, "Permission denied", clear);
}
