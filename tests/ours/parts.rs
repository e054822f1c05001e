//! `--rotate-size`, `--rotate-time`, `--rotate-count`: rotated files, which together are the whole record,
//! each complete as soon as it has its name.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, chown};

use crate::support::namespace::{in_a_world_of_its_own, mount_disk};
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server, Traffic, echo_server};
use crate::support::record::read_raw;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Tcpreen};
use crate::support::wait::until;
use crate::support::{Bridged, bridge, nobody};

/// A directory for a record and its rotated files.
struct RotationDirectory {
    scratch: Scratch,
    record: PathBuf,
}

impl RotationDirectory {
    fn new() -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path("logs");
        fs::create_dir(&directory).expect("mkdir");
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).expect("chmod");
        RotationDirectory { record: directory.join("record"), scratch }
    }

    fn directory(&self) -> &Path {
        self.record.parent().expect("a directory")
    }

    fn part(&self, number: u64) -> PathBuf {
        self.record.with_extension(number.to_string())
    }

    /// Numbers of the rotated files, in order.
    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.directory()).expect("entries");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.strip_prefix("record.")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// All rotated files, and the current one.
    fn files(&self) -> Vec<Vec<u8>> {
        let parts = self.numbers().into_iter().map(|number| self.part(number));
        parts.chain([self.record.clone()]).map(|path| fs::read(path).expect("a part")).collect()
    }

    fn text(&self, path: &Path) -> String {
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    fn current_has(&self, words: &str) {
        until(words, || self.text(&self.record).contains(words).then_some(()));
    }
}

/// Runs one session in which both sides send this number of bytes; returns the client's traffic.
fn transfer(tcpreen: impl FnOnce(u16) -> Tcpreen, bytes: u64) -> (Outcome, Traffic) {
    let server =
        Server::listen().serve(move |peer: Peer| peer.exchange(Payload::new(2, bytes)).expect("a session"));
    let tcpreen = tcpreen(server.port).sessions(1).start();
    let traffic = tcpreen.connect().exchange(Payload::new(1, bytes)).expect("a session");
    server.result();
    (tcpreen.finish(), traffic)
}

#[test]
fn the_parts_of_every_format_are_the_record_and_none_is_too_large() {
    for (format, at_once) in [("raw", 1), ("C", 4), ("hex", 1), ("strip", 4), ("count", 1), ("raw", 4)] {
        let place = RotationDirectory::new();
        let in_parts = |server| {
            let it = Tcpreen::to(server).at_once(at_once).format(format).args(["-b", "1M", "-o", "-"]);
            it.args(["--rotate-size", "100k"]).output(&place.record)
        };
        let whole = transfer(in_parts, 300 << 10).0.stdout;
        let files = place.files();
        assert!(whole == files.concat(), "{format}: {} bytes in {} files", whole.len(), files.len());
        assert!(files.len() > 6 || format == "count", "{format}: {} files", files.len());
        assert_eq!(place.numbers(), (1..files.len() as u64).collect::<Vec<_>>());
        for (index, file) in files.iter().enumerate() {
            // A piece of traffic is at most 16 KiB with -b, which in hex exceeds a part.
            let most = if format == "hex" { 160 << 10 } else { 100 << 10 };
            assert!(file.len() <= most, "{format}: {} bytes in file {index}", file.len());
            assert!(format != "C" || file.ends_with(b"\n"), "a record is in two parts");
        }
    }
}

#[test]
fn bulk_in_parts_is_exact() {
    const BYTES: u64 = 24 << 20;
    let place = RotationDirectory::new();
    let in_parts =
        |server| Tcpreen::to(server).args(["-q", "--rotate-size", "1M"]).format("raw").output(&place.record);
    let (outcome, traffic) = transfer(in_parts, BYTES);
    assert!(outcome.code() == 0 && !outcome.stderr.contains("error"), "{outcome:?}");
    let files = place.files();
    assert!(files.len() >= 48, "{} files", files.len());
    let recorded = read_raw(&*files.concat());
    assert_eq!((recorded.client(), recorded.server()), (traffic.sent, traffic.received));
}

#[test]
fn rotate_count_bounds_the_disk() {
    let place = RotationDirectory::new();
    for name in ["record.7", "record.9", "record.9.gz"] {
        fs::write(place.directory().join(name), "of an earlier run").expect("a part");
        if Uid::effective().is_root() {
            // The target user.
            chown(&place.directory().join(name), Some(nobody().0), None).expect("chown");
        }
    }
    let in_parts = |server| {
        let it = Tcpreen::to(server).args(["-q", "--rotate-size", "64k", "--rotate-count", "3", "-b", "8M"]);
        it.format("raw").output(&place.record)
    };
    transfer(in_parts, 1 << 20);
    let numbers = place.numbers();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    assert!(numbers[0] > 20 && numbers[2] - numbers[0] == 2, "{numbers:?}");
    assert!(place.directory().join("record.9.gz").exists());
    let kept: u64 = place.files().iter().map(|file| file.len() as u64).sum();
    assert!(kept <= 4 * (64 << 10), "{kept} bytes");
}

#[test]
fn a_file_is_rotated_in_time_without_traffic() {
    let place = RotationDirectory::new();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.args(["-q", "--rotate-time", "300ms", "-o"]).args([&place.record]));
    let mut last = 0;
    for words in ["first", "second"] {
        client.send(words);
        server.expect(words);
        let part = until("a finished part", || {
            let found = place.numbers().into_iter().find(|number| {
                *number > last && place.text(&place.part(*number)).contains(&format!("<<< {words}"))
            });
            found.filter(|_| place.record.exists())
        });
        assert_eq!(place.text(&place.record), "");
        last = part;
    }
    assert!(place.numbers().len() <= 3, "no part is empty: {:?}", place.numbers());
    assert!(place.files()[..place.numbers().len()].iter().all(|part| !part.is_empty()));
    drop((client, server, tcpreen));
}

#[test]
fn rotation_moves_existing_contents_to_the_first_file() {
    let place = RotationDirectory::new();
    let echo = echo_server();
    for run in 1..=3 {
        let tcpreen = Tcpreen::to(echo.port).args(["-q", "--rotate-size", "1M", "-m", "1"]);
        let mut tcpreen = tcpreen.output(&place.record).local_port(0).start();
        let mut client = tcpreen.connect();
        let words = format!("run {run}");
        client.send(&words);
        client.expect(&words);
        client.finish();
        client.expect_end();
        tcpreen.wait();
    }
    assert_eq!(place.numbers(), [1, 2]);
    for (run, path) in [place.part(1), place.part(2), place.record.clone()].iter().enumerate() {
        assert!(place.text(path).contains(&format!("<<< run {}\n", run + 1)), "{}", path.display());
    }
}

#[test]
fn rotation_neither_follows_nor_replaces_existing_names() {
    let place = RotationDirectory::new();
    let victim = place.scratch.path("victim");
    fs::write(&victim, "precious").expect("a file");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        it.args(["-q", "--rotate-size", "1k", "--rotate-count", "1"]).format("raw").output(&place.record)
    });
    symlink(&victim, place.part(1)).expect("a link");
    fs::create_dir(place.part(2)).expect("mkdir");
    fs::write(place.part(3), "not ours").expect("a file");
    let words = "x".repeat(2000);
    for _ in 0..3 {
        client.send(&words);
        server.expect(&words);
    }
    // The frame and each piece but the last.
    until("the last of three parts", || place.part(6).exists().then_some(()));
    until("the two before it to be gone", || (place.numbers() == [1, 2, 3, 6]).then_some(()));
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "precious");
    assert_eq!(fs::read_link(place.part(1)).expect("a link"), victim);
    assert!(place.part(2).is_dir());
    assert_eq!(place.text(&place.part(3)), "not ours");
    drop((client, server, tcpreen));
}

#[test]
fn a_closed_directory_is_reported_once_and_the_current_file_continues() {
    if !needs(&[Need::Root]) {
        return; // Permissions do not stop root, and only root may change to another user.
    }
    let place = RotationDirectory::new();
    let chmod = |mode| fs::set_permissions(place.directory(), Permissions::from_mode(mode)).expect("chmod");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        it.args(["-u", "nobody", "-f", "raw", "--rotate-size", "1k", "-o"]).args([&place.record])
    });
    chmod(0o755);
    let words = "x".repeat(2000);
    let mut say = |words: &str| {
        client.send(words);
        server.expect(words);
    };
    for _ in 0..10 {
        say(&words);
    }
    let error = tcpreen.stderr_line("Log file error");
    let text =
        format!("Log file error: Permission denied ({}): going on with the old file", place.record.display());
    assert_eq!(error, text);
    place.current_has(&words);
    chmod(0o777);
    until("a part", || {
        say(&words);
        place.part(1).exists().then_some(())
    });
    assert_eq!(tcpreen.stderr().matches("Log file error").count(), 1);
}

#[test]
fn a_start_fails_if_rotation_is_impossible() {
    if !needs(&[Need::Root]) {
        return; // Permissions do not stop root, and only root may change to another user.
    }
    let place = RotationDirectory::new();
    fs::write(&place.record, "").expect("a file");
    chown(&place.record, Some(nobody().0), None).expect("chown");
    fs::set_permissions(place.directory(), Permissions::from_mode(0o755)).expect("chmod");
    let outcome = Tcpreen::to(80).args(["-u", "nobody", "--rotate-size", "1M"]).output(&place.record).run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(outcome.stderr.contains("Log file error: Permission denied ("), "{outcome:?}");
}

#[test]
fn parts_stay_in_their_directory_wherever_it_goes() {
    let place = RotationDirectory::new();
    let moved = place.scratch.path("moved");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.args(["-q", "--rotate-size", "1k"]).format("raw").output(&place.record));
    fs::rename(place.directory(), &moved).expect("rename");
    let words = "x".repeat(2000);
    for _ in 0..2 {
        client.send(&words);
        server.expect(&words);
    }
    until("a part", || moved.join("record.1").exists().then_some(()));
    assert!(!place.directory().exists());
    drop((client, server, tcpreen));
}

#[test]
fn every_part_has_the_mode_and_the_owner_of_the_first() {
    if !needs(&[Need::Root]) {
        return; // Only root may change to another user.
    }
    let place = RotationDirectory::new();
    let secrets = place.record.with_file_name("secrets");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        let it = it.args(["-q", "-u", "nobody", "--rotate-size", "30"]).output(&place.record);
        it.format("password").output(&secrets).by_shell("umask 027", "")
    });
    for number in 0..4 {
        let login = format!("AUTH secret{number}\r\n");
        client.send(&login);
        server.expect(&login);
        server.send("+OK\r\n");
        client.expect("+OK\r\n");
    }
    let [part, secret] = [place.part(2), secrets.with_extension("1")];
    until("parts", || (part.exists() && secret.exists()).then_some(()));
    for (path, mode) in [(part, 0o640), (place.record.clone(), 0o640), (secret, 0o600), (secrets, 0o600)] {
        let found = until("a file", || fs::metadata(&path).ok());
        assert_eq!((found.mode() & 0o7777, found.uid()), (mode, nobody().0.as_raw()), "{}", path.display());
    }
    drop((client, server, tcpreen));
}

#[test]
fn a_full_disk_ends_the_sessions_and_every_part_is_whole() {
    if !needs(&[Need::Root, Need::Program("ip"), Need::World]) {
        return;
    }
    in_a_world_of_its_own(|| {
        let place = RotationDirectory::new();
        mount_disk("256k", place.directory());
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
            it.args(["-q", "--rotate-size", "20k", "-b", "1G"]).format("raw").output(&place.record)
        });
        let reader = std::thread::spawn(move || server.expect_hang_up());
        let words = "x".repeat(1000);
        while client.try_send(&words) {}
        client.expect_hang_up();
        reader.join().expect("the server saw the end");
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 74, "{outcome:?}");
        assert_eq!(outcome.stderr.matches("No space left on device").count(), 1, "{outcome:?}");
        let mut files = place.files();
        files.pop();
        assert!(files.len() >= 10, "{} parts", files.len());
        assert!(files.iter().all(|part| !part.is_empty() && part.len() <= 20 << 10));
    });
}

#[test]
fn both_ways_to_rotate_go_together() {
    let place = RotationDirectory::new();
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        let it = it.args(["-q", "--rotate-size", "1k"]).format("raw").output(&place.record);
        it.by_shell("trap '' HUP", "")
    });
    let mut say = |words: &str| {
        client.send(words);
        server.expect(words);
    };
    say("before");
    place.current_has("before");
    let elsewhere = place.scratch.path("elsewhere");
    fs::rename(&place.record, &elsewhere).expect("rename");
    tcpreen.signal(Signal::SIGHUP);
    until("the new file", || place.record.exists().then_some(()));
    let words = "x".repeat(900);
    for _ in 0..3 {
        say(&words);
    }
    let recorded = || place.files().concat().iter().filter(|byte| **byte == b'x').count();
    until("parts with all that was said", || (place.numbers() == [1, 2] && recorded() == 2700).then_some(()));
}

#[test]
fn rotation_options_without_a_suitable_output_are_an_error() {
    let place = RotationDirectory::new();
    let link = place.record.with_extension("link");
    symlink("target", &link).expect("a link");
    let own = place.record.with_extension("%n");
    for (output, reason) in [
        (Path::new("-"), "nothing to rotate"),
        (Path::new("/dev/null"), "nothing to rotate"),
        (&own, "nothing to rotate"),
        (&link, "a symbolic link has no parts"),
    ] {
        let outcome = Tcpreen::to(80).args(["--rotate-size", "1M"]).output(output).run();
        assert_eq!(outcome.code(), 64, "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
    }
}
