//! `--only`, and options without effect.

use nix::sys::signal::Signal;

use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Outcome, Tcpreen};

/// One session in which the client asks and the server answers.
fn one_session(with: impl FnOnce(Tcpreen) -> Tcpreen) -> Outcome {
    let listener = Server::listen();
    let tcpreen = with(Tcpreen::to(listener.port()).sessions(1)).start();
    let (mut client, mut server) = (tcpreen.connect(), listener.accept());
    client.send("question");
    server.expect("question");
    server.send("\0answer\n");
    client.expect("\0answer\n");
    client.finish();
    server.finish();
    client.expect_end();
    tcpreen.finish()
}

#[test]
fn raw_of_one_side_is_its_bytes_and_nothing_else() {
    let scratch = Scratch::new();
    let outcome = one_session(|it| {
        let it = it.at_once(3).args(["--only=server", "-f", "raw"]).output("-");
        let it = it.args(["--only=client"]).output(scratch.path("client"));
        it.args(["--only=both"]).output(scratch.path("both"))
    });
    assert_eq!(outcome.stdout(), "\0answer\n", "{outcome:?}");
    assert_eq!(scratch.record("client"), "question");
    let both = scratch.record("both");
    assert!(both.contains("<<< question") && both.contains(">>> \0answer"), "{both}");
}

#[test]
fn other_formats_keep_the_frame_and_the_display_is_restricted_by_the_last() {
    let scratch = Scratch::new();
    let outcome = one_session(|it| {
        let it = it.args(["--only=client"]).output(scratch.path("%n"));
        it.args(["-f", "C", "--only=server"])
    });
    let shown = outcome.stdout();
    assert!(shown.contains(">>> \\000answer\\n\n") && !shown.contains("<<<"), "{shown}");
    assert!(shown.contains("End of output: ") && !shown.contains("End of input: "), "{shown}");
    let record = scratch.record("1");
    assert!(record.contains("<<< question\n") && !record.contains(">>>"), "{record}");
}

#[test]
fn an_option_without_effect_is_reported_with_the_output_it_misses() {
    let scratch = Scratch::new();
    let file = scratch.path("x").display().to_string();
    let told = |arguments: &[&str]| {
        let tcpreen = Tcpreen::to(9).args(arguments).start();
        tcpreen.signal(Signal::SIGTERM);
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 143, "{outcome:?}");
        outcome
            .stderr
            .lines()
            .filter(|line| line.contains("affects nothing"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let misses = |option: &str, name: &str| {
        vec![format!("{option} affects nothing here: it does not reach -o {name}, put it before that.")]
    };
    assert_eq!(told(&["-o", "-", "-f", "raw"]), misses("-f raw", "-"));
    assert_eq!(told(&["-q", "-o", &file, "-f", "hexa"]), misses("-f hex", &file));
    assert_eq!(told(&["-q", "-o", &file, "--only=client"]), misses("--only=client", &file));
    assert_eq!(told(&["-f", "hex", "-f", "C", "-o", &file]).len(), 1);
    for fine in [&["-o", &file, "-f", "hex"][..], &["-f", "hex", "-q", "-o", &file], &["-f", "hex"]] {
        assert!(told(fine).is_empty(), "{fine:?}");
    }
}

#[test]
fn an_invalid_direction_is_a_usage_error() {
    for (arguments, part) in [
        (&["--only=me"][..], "me: invalid direction (client, server or both)."),
        (&["--only=server", "-f", "password", "-o", "-"], "the client has said"),
    ] {
        let outcome = Tcpreen::to(9).args(arguments).run();
        assert_eq!(outcome.code(), 64, "{outcome:?}");
        assert!(outcome.stderr.contains(part), "{outcome:?}");
    }
}
