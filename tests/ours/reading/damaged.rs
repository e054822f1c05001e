//! Records that are cut or damaged, and what stands behind that place.

use std::fs;
use std::path::PathBuf;

use super::{data, start, two_sessions, written};
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;

#[test]
fn a_record_that_is_cut_or_damaged_gives_what_is_whole_and_says_where_it_stops() {
    let scratch = Scratch::new();
    let whole = two_sessions();
    let at = whole.match_indices('\n').nth(3).expect("lines").0 + 1;
    let lies = format!("{}{}", &whole[..at], data(1, 1, "client", 4, "before its time"));
    let unknown = format!("{}{}", &whole[..at], data(3, 999_999, "client", 0, "never started"));
    let back = format!("{}{}", &whole[..at], data(1, 999_999, "client", 3, "again"));
    let far = format!("{}{}", &whole[..at], data(1, 999_999, "client", u64::MAX, "too far"));
    let twice = format!("{}{}", &whole[..at], start(1));
    for (name, record, complaint) in [
        ("cut", &whole[..at + 60], "cut off within the event"),
        ("lies", &lies, "damaged"),
        ("unknown", &unknown, "damaged"),
        ("back", &back, "damaged"),
        ("far", &far, "damaged"),
        ("twice", &twice, "damaged"),
    ] {
        let outcome = Tcpreen::reading([written(&scratch, name, record)]).run();
        assert_eq!(outcome.code(), 65, "{name}: {outcome:?}");
        let said = &outcome.stderr;
        assert!(said.contains(complaint) && said.contains(&format!("at byte {at};")), "{name}: {said}");
        assert!(outcome.stdout().ends_with("[2] <<< other\n"), "{name}: {}", outcome.stdout());
    }
}

/// The program was killed, or the disk full, and it is started again with `--append`.
#[test]
fn what_is_appended_to_a_record_that_was_cut_is_read() {
    let scratch = Scratch::new();
    let again = two_sessions().replace("m4k2zq", "n5l3ar").replace("ping", "gong");
    let again = written(&scratch, "again", again);
    let whole = written(&scratch, "whole", two_sessions());
    let later = Tcpreen::reading([&again]).run().stdout();
    for format in ["json", "pcapng"] {
        let file = scratch.path(format);
        let append = |record: &PathBuf| {
            let outcome = Tcpreen::reading([record]).args(["--append"]).format(format).output(&file).run();
            assert_eq!(outcome.code(), 0, "{outcome:?}");
        };
        append(&whole);
        let cut = fs::read(&file).expect("a file");
        fs::write(&file, &cut[..cut.len() - 300]).expect("room");
        let before = Tcpreen::reading([&file]).run();
        assert!(before.stderr.contains("all before it was read"), "{before:?}");
        append(&again);
        let outcome = Tcpreen::reading([&file]).run();
        assert_eq!(outcome.code(), 65, "{format}: {outcome:?}");
        let said = &outcome.stderr;
        let flaw = format!("{}: damaged at byte ", file.display());
        assert!(said.contains(&flaw) && said.ends_with(" bytes left out, all else was read\n"), "{said}");
        assert!(outcome.stdout().starts_with(&before.stdout()), "{outcome:?}");
        let data =
            |text: &str| text.lines().filter(|line| line.contains(" <<< ") || line.contains(" >>> ")).count();
        assert_eq!(data(&outcome.stdout()), data(&before.stdout()) + data(&later), "{outcome:?}");
        assert!(outcome.stdout().contains("<<< gong\n"), "{outcome:?}");
        // So is it by a comparison and a replay.
        let only = ["--session", "1"];
        let diff = Tcpreen::replaying(["--diff".as_ref(), file.as_os_str(), file.as_os_str()]).listen_on("");
        let diff = diff.args(only).run();
        assert!(diff.stderr.contains("sessions that are the same: 2; different: 0\n"), "{diff:?}");
    }
}
