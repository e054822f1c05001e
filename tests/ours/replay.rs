//! `--replay` and `--diff`: saved sessions played against live peers, and compared with each other.

pub(crate) mod servers;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ours::reading::data;
use crate::ours::reading::end;
use crate::ours::reading::eof;
use crate::ours::reading::start;
use crate::ours::reading::told;
use crate::ours::reading::written;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Outcome, Tcpreen};

/// Two questions and their answers.
fn dialogue() -> String {
    [
        start(1),
        data(1, 500_000, "client", 0, "time?"),
        data(1, 600_000, "server", 0, "it is 10:22"),
        data(1, 700_000, "client", 5, "name?"),
        data(1, 800_000, "server", 11, "bridge"),
        eof(1, 900_000, "client", 10),
        eof(1, 900_000, "server", 17),
        end(1, 950_000, [10, 17]),
    ]
    .concat()
}

/// A server for one client, which answers each question of five bytes.
fn server(answers: &'static [&'static str]) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let port = listener.local_addr().expect("its port").port();
    let served = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut asked = Vec::new();
        for answer in answers {
            let mut question = [0; 5];
            if client.read_exact(&mut question).is_err() {
                break;
            }
            asked.extend(question);
            client.write_all(answer.as_bytes()).expect("it listens");
        }
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut asked);
        asked
    });
    (port, served)
}

fn play_client(record: &Path, port: u16, more: &[&str]) -> Outcome {
    let port = port.to_string();
    let arguments = ["--replay=client".as_ref(), record.as_os_str(), "127.0.0.1".as_ref(), port.as_ref()];
    Tcpreen::replaying(arguments).listen_on("").args(["-q"]).args(more).run()
}

#[test]
fn a_client_is_played_by_turns_and_the_answers_are_the_same() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    for pace in ["turns", "time", "fast"] {
        let (port, served) = server(&["it is 10:22", "bridge"]);
        let copy = scratch.path(pace);
        let output = copy.to_str().expect("a path");
        let outcome = play_client(&record, port, &["--pace", pace, "-f", "count", "-o", output]);
        assert_eq!(told(&outcome), "session 1: the same: 10 bytes sent, 17 bytes received\n", "{pace}");
        assert_eq!(outcome.code(), 0, "{pace}");
        assert_eq!(served.join().expect("no panic"), b"time?name?", "{pace}");
        // The live session is recorded like any other.
        assert!(scratch.record(pace).contains("End of output: 17 bytes sent.\n"), "{pace}");
    }
}

#[test]
fn the_first_difference_is_told_with_what_is_around_it() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    let cases: [(&[&str], &str, &str); 4] = [
        (&["it is 11:37", "bridge"], "the server differs at byte 7 of 17", "\"it is 11:37\""),
        (&["it is 10:22", "bridges"], "the server differs at byte 17 of 17", "\"t is 10:22bridges\""),
        (&["it is 10:22"], "the server differs at byte 11 of 17", "\"it is 10:22\""),
        (&[], "the server differs at byte 0 of 17", "\"\""),
    ];
    for (answers, place, now) in cases {
        let (port, served) = server(answers);
        let outcome = play_client(&record, port, &["--wait", "10s"]);
        let said = told(&outcome);
        assert_eq!(outcome.code(), 1, "{answers:?}: {said}");
        assert!(said.contains(place) && said.contains(&format!("now:    {now}\n")), "{answers:?}: {said}");
        served.join().expect("no panic");
    }
}

#[test]
fn what_a_mask_finds_in_the_record_may_be_anything_now() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    let (port, served) = server(&["it is half past eleven", "bridge"]);
    let outcome = play_client(&record, port, &["--mask", "[0-9]+:[0-9]+"]);
    assert_eq!(told(&outcome), "session 1: the same: 10 bytes sent, 28 bytes received\n");
    assert_eq!(outcome.code(), 0);
    served.join().expect("no panic");
    let outcome = play_client(&record, port, &["--mask", "("]);
    assert_eq!(outcome.code(), 64, "{}", outcome.stderr);
}

#[test]
fn a_server_is_played_for_a_live_client() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    for (question, status) in [("name?", 0), ("nome?", 1)] {
        let arguments = ["--replay=server".as_ref(), record.as_os_str(), "0".as_ref()];
        let running = Tcpreen::replaying(arguments).start();
        let mut client = TcpStream::connect(("127.0.0.1", running.port())).expect("it listens");
        let mut answer = [0; 11];
        client.write_all(b"time?").expect("it listens");
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"it is 10:22");
        client.write_all(question.as_bytes()).expect("it listens");
        let _ = client.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert_eq!(rest, if status == 0 { &b"bridge"[..] } else { b"" });
        let outcome = running.finish();
        assert_eq!(outcome.code(), status, "{}", outcome.stderr);
    }
}

#[test]
fn an_urgent_byte_of_the_live_peer_has_its_place_in_the_stream() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    let running = Tcpreen::replaying(["--replay=server".as_ref(), record.as_os_str(), "0".as_ref()]).start();
    let mut client = running.connect();
    client.send("time");
    client.send_urgent(b'?');
    client.expect("it is 10:22");
    client.send_urgent(b'n');
    client.send("ame?");
    client.finish();
    client.expect("bridge");
    let outcome = running.finish();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the same: 17 bytes sent, 10 bytes received\n"), "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_played_is_told_before_anything_is_connected() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    let lengths = dialogue().replace("\"text\":\"bridge\"", "\"text\":\"\"");
    let lengths = written(&scratch, "lengths", lengths);
    let foreign = written(&scratch, "foreign", "nothing of ours");
    for (file, more, said) in [
        (&record, &["--session", "2"][..], "no such session in it"),
        (&lengths, &[], "only lengths were recorded"),
        (&foreign, &[], "not a record of tcpreen"),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        let port = listener.local_addr().expect("its port").port();
        let outcome = play_client(file, port, more);
        assert_eq!(outcome.code(), 65, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert!(listener.accept().is_err(), "{said}: it was connected to");
    }
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr()).expect("a port").port();
    assert_eq!(play_client(&record, port, &[]).code(), 69);
}

fn compared(first: &Path, second: &Path, more: &[&str]) -> Outcome {
    let arguments = ["--diff".as_ref(), first.as_os_str(), second.as_os_str()];
    Tcpreen::replaying(arguments).listen_on("").args(more).run()
}

#[test]
fn records_are_compared_session_by_session() {
    let scratch = Scratch::new();
    let first = written(&scratch, "first", dialogue());
    // Cut elsewhere, and at another time.
    let pieces = data(1, 600_000, "server", 0, "it is") + &data(1, 600_001, "server", 5, " 10:22");
    let same = dialogue().replace(&data(1, 600_000, "server", 0, "it is 10:22"), &pieces);
    let same = written(&scratch, "same", same);
    let other = written(
        &scratch,
        "other",
        dialogue().replace("10:22", "11:37").replace("\"session\":1", "\"session\":5"),
    );
    let outcome = compared(&first, &same, &[]);
    assert_eq!(
        (outcome.code(), told(&outcome).as_str()),
        (0, "sessions that are the same: 1; different: 0\n")
    );
    let outcome = compared(&first, &other, &[]);
    assert_eq!(outcome.code(), 1);
    let said = told(&outcome);
    assert!(said.starts_with("sessions 1 and 5: the server differs at byte 7 (17 and 17)\n"), "{said}");
    let outcome = compared(&first, &other, &["--mask", "[0-9]+:[0-9]+"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    // The syntax is that of --match.
    for mask in ["(?i)[0-9]+:[0-9]+", r"\d+:\d+", r"(?-u)\d+:\d+"] {
        assert_eq!(compared(&first, &other, &["--mask", mask]).code(), outcome.code(), "{mask}");
    }
    let outcome = compared(&first, &other, &["--mask", "("]);
    assert_eq!(outcome.code(), 64);
    assert!(outcome.stderr.contains("--mask (: unclosed group.\n"), "{}", outcome.stderr);
    let two = written(&scratch, "two", dialogue() + &dialogue().replace("\"session\":1", "\"session\":2"));
    let outcome = compared(&two, &first, &[]);
    assert_eq!(outcome.code(), 1);
    assert!(told(&outcome).contains("sessions in the first record alone: 1\n"), "{}", outcome.stderr);
}

#[test]
fn ends_of_streams_and_sessions_are_compared_like_bytes() {
    let scratch = Scratch::new();
    let first = written(&scratch, "first", dialogue());
    let (client, server) = (eof(1, 900_000, "client", 10), eof(1, 900_000, "server", 17));
    let end = end(1, 950_000, [10, 17]);
    let reset = end.replace("\"done\"", "\"server_reset\"");
    let cases = [
        (dialogue().replace(&server, ""), "the server ended the stream in the first record alone"),
        (dialogue().replace(&client, ""), "the client ended the stream in the first record alone"),
        (dialogue().replace(&end, &reset), "ended as done and server_reset"),
        (dialogue().replace(&end, ""), "ended as done in the first record alone"),
    ];
    for (at, (record, said)) in cases.into_iter().enumerate() {
        let second = written(&scratch, &format!("second{at}"), record);
        let rest = "sessions that are the same: 0; different: 1\n";
        let outcome = compared(&first, &second, &[]);
        assert_eq!(told(&outcome), format!("session 1: {said}\n{rest}"));
        assert_eq!(outcome.code(), 1);
        let said = said.replace("first", "second").replace("done and server_reset", "server_reset and done");
        assert_eq!(told(&compared(&second, &first, &[])), format!("session 1: {said}\n{rest}"));
        assert_eq!(compared(&second, &second, &[]).code(), 0);
    }
}

/// The record of one side, as `--only` leaves it: the other side is known by its length.
fn of_the_client_alone(record: &str) -> String {
    let lines =
        record.lines().filter(|line| !(line.contains("\"event\":\"data\"") && line.contains("\"server\"")));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_side_that_is_not_in_the_record_is_neither_compared_nor_played() {
    let scratch = Scratch::new();
    let both = written(&scratch, "both", dialogue());
    let client = written(&scratch, "client", of_the_client_alone(&dialogue()));
    let outcome = compared(&both, &client, &[]);
    assert_eq!(outcome.code(), 1);
    assert_eq!(
        told(&outcome),
        "session 1: not in the second record: 17 bytes of the server\n\
         sessions that are the same: 0; different: 1\n"
    );
    assert_eq!(compared(&client, &client, &[]).code(), 0);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let outcome = play_client(&client, port, &[]);
    assert_eq!(outcome.code(), 65, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("bytes are missing in the session"), "{}", outcome.stderr);
}

#[test]
fn a_session_that_neither_record_has_is_an_error() {
    let scratch = Scratch::new();
    let record = written(&scratch, "record", dialogue());
    for sessions in ["99", "1,99"] {
        let outcome = compared(&record, &record, &["--session", sessions]);
        assert_eq!(outcome.code(), 65, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("no such session in it"), "{}", outcome.stderr);
    }
    assert_eq!(compared(&record, &record, &["--session", "1"]).code(), 0);
}

/// A session of this client, which says something.
fn saying(session: u64, client: &str, words: &str) -> String {
    let text = start(session) + &data(session, 1_000_000, "client", 0, words);
    let text = text + &end(session, 2_000_000, [words.len() as u64, 0]);
    text.replace("203.0.113.9", client)
}

#[test]
fn sessions_are_compared_with_those_of_the_same_peers_and_the_rest_by_order() {
    let scratch = Scratch::new();
    let (a, b, c) = ("198.51.100.1", "198.51.100.2", "198.51.100.3");
    let first = [saying(1, a, "one"), saying(2, b, "two"), saying(3, a, "three"), saying(4, c, "four")];
    let first = written(&scratch, "first", first.concat());
    let cases = [
        // In another order, by address; the others by order.
        (
            vec![
                saying(1, b, "two"),
                saying(2, a, "one"),
                saying(3, "192.0.2.7", "four"),
                saying(4, a, "three"),
            ],
            0,
            "same: 4; different: 0",
        ),
        (
            vec![saying(1, b, "two"), saying(2, a, "three"), saying(3, a, "one"), saying(4, c, "four")],
            1,
            "same: 2; different: 2",
        ),
        (
            vec![saying(1, c, "four"), saying(2, b, "two"), saying(3, a, "one")],
            1,
            "sessions in the first record alone: 1\nsessions that are the same: 3; different: 1",
        ),
        // Other peers in all of them.
        (
            [("one", 1), ("two", 2), ("three", 3), ("four", 4)]
                .map(|(words, number)| saying(number, "192.0.2.7", words))
                .to_vec(),
            0,
            "same: 4; different: 0",
        ),
    ];
    for (at, (sessions, status, said)) in cases.into_iter().enumerate() {
        let second = written(&scratch, &format!("second{at}"), sessions.concat());
        for pair in [[&first, &second], [&second, &first]] {
            let outcome = compared(pair[0], pair[1], &[]);
            let said = if pair[0] == &first { said.to_owned() } else { said.replace("first", "second") };
            assert_eq!(outcome.code(), status, "{at}: {}", outcome.stderr);
            assert!(told(&outcome).contains(&said), "{at}: {}", outcome.stderr);
        }
    }
}

/// The bound is what a busy machine may take; the middle one of many is compared.
#[test]
fn recorded_pauses_are_kept() {
    const PAUSE: Duration = Duration::from_millis(30);
    const PIECES: u64 = 25;
    let scratch = Scratch::new();
    let at = |piece: u64| 412_000 + piece * PAUSE.as_nanos() as u64;
    let pieces: String = (0..PIECES).map(|piece| data(1, at(piece), "client", 5 * piece, "five.")).collect();
    let ends = eof(1, at(PIECES), "client", 5 * PIECES) + &end(1, at(PIECES), [5 * PIECES, 0]);
    let record = written(&scratch, "record", start(1) + &pieces + &ends);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let port = listener.local_addr().expect("its port").port();
    let arrivals = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let arrival = |_| {
            client.read_exact(&mut [0; 5]).expect("a piece");
            Instant::now()
        };
        (0..PIECES).map(arrival).collect::<Vec<Instant>>()
    });
    let outcome = play_client(&record, port, &["--pace=time"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let arrivals = arrivals.join().expect("no panic");
    let pauses = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
    let mut errors: Vec<Duration> = pauses.map(|pause| pause.abs_diff(PAUSE)).collect();
    errors.sort();
    println!("errors of pauses of {PAUSE:?}: {errors:?}");
    assert!(errors[errors.len() / 2] < Duration::from_millis(15), "{errors:?}");
}
