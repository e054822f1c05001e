//! Known defects of 1.4.4, 6.1 to 6.18 of the notes on it, and the tests that this program lacks them. Tests
//! in other modules are listed here; the others follow.
//!
//! | weakness of 1.4.4 | file | test |
//! |---|---|---|
//! | 6.1 a peer vanishes, and the record with it | compat/relay/endings.rs | data_sent_before_a_close_is_recorded |
//! | 6.1 | ours/weaknesses.rs | a_login_is_recorded_although_its_server_hung_up |
//! | 6.2 files are deleted | compat/modes/socket_files.rs | a_file_that_is_no_socket_is_an_error_and_stays_as_it_is |
//! | 6.2 | compat/modes/socket_files.rs | a_socket_in_use_is_an_error_and_stays_in_use |
//! | 6.2 | compat/modes/socket_files.rs | a_file_that_took_its_place_is_not_removed_at_the_end |
//! | 6.3 `-u` is unusable, set-uid keeps root | ours/roles.rs | started_by_root_every_process_becomes_the_user_named |
//! | 6.3 | ours/roles.rs | a_set_uid_start_gives_up_root_for_good |
//! | 6.3 | compat/weaknesses.rs | a_set_uid_start_creates_no_socket_that_its_caller_could_not |
//! | 6.4 stopping does not stop | compat/weaknesses.rs | sigterm_stops_every_process_without_a_process_group |
//! | 6.4 | compat/weaknesses.rs | sigterm_is_not_forwarded_to_the_process_group |
//! | 6.5 workers vanish | compat/loss.rs | children_that_end_together_are_all_replaced |
//! | 6.5 | compat/weaknesses.rs | workers_that_are_killed_together_are_all_replaced |
//! | 6.5 | ours/weaknesses.rs | clients_wait_for_a_process_and_are_then_served |
//! | 6.5 | ours/weaknesses.rs | a_bridge_that_was_short_of_processes_and_is_idle_serves_the_next_client |
//! | 6.5 | ours/diagnostics/usage.rs | numbers_that_the_original_takes_for_others |
//! | 6.6 failure looks like success | compat/diagnostics.rs | a_failure_is_never_a_success |
//! | 6.6 | compat/diagnostics.rs | errors_are_printed_even_with_quiet |
//! | 6.7 a dead name server is an outage | compat/names.rs | with_a_silent_name_server_bytes_pass_at_once |
//! | 6.7 | compat/names.rs | with_a_silent_name_server_the_record_has_the_number_soon |
//! | 6.7 | compat/names.rs | with_a_silent_name_server_it_listens_and_says_so_soon |
//! | 6.7 | compat/names.rs | with_a_silent_name_server_it_ends_soon_with_a_whole_record |
//! | 6.8 silent truncation | compat/diagnostics/surroundings.rs | a_full_device_as_stdout_is_reported_once_and_sets_the_exit_status |
//! | 6.8 | compat/diagnostics/surroundings.rs | a_closed_stdout_is_reported_once_and_sets_the_exit_status |
//! | 6.8 | compat/diagnostics/surroundings.rs | a_stdout_without_a_reader_stalls_the_session_and_loses_nothing |
//! | 6.8 | compat/weaknesses/disks.rs | a_full_disk_is_reported_once_and_sets_the_exit_status |
//! | 6.8 | compat/weaknesses/disks.rs | a_file_at_its_size_limit_is_reported_once_and_sets_the_exit_status |
//! | 6.8 | ours/weaknesses/disks.rs | a_full_disk_leaves_the_other_outputs_whole |
//! | 6.9 the log goes into the connection | compat/weaknesses.rs | with_stdout_closed_nothing_of_the_log_reaches_a_peer |
//! | 6.9 | compat/diagnostics/surroundings.rs | with_any_of_the_three_streams_closed_the_traffic_is_exact |
//! | 6.10 lines are forged | ours/weaknesses/forging.rs | traffic_cannot_forge_lines_of_a_shared_output |
//! | 6.10 | ours/weaknesses/forging.rs | traffic_cannot_forge_lines_on_a_shared_terminal |
//! | 6.10 | compat/weaknesses/forging.rs | the_name_of_a_unix_client_cannot_forge_lines |
//! | 6.10 terminals obey | compat/weaknesses/forging.rs | peers_cannot_send_terminal_commands |
//! | 6.10 | compat/weaknesses/forging.rs | names_of_peers_cannot_contain_terminal_commands |
//! | 6.10 C is ambiguous | compat/formats.rs | c_compiles_to_the_bytes_it_shows |
//! | 6.11 uninitialised memory is shown | compat/modes/unix.rs | a_client_without_a_name_is_shown_as_such |
//! | 6.12 secrets are readable by all | compat/weaknesses/disks.rs | a_file_with_passwords_is_its_owners_alone |
//! | 6.13 an idle client blocks everybody | compat/weaknesses.rs | an_idle_client_leaves_the_other_places_free |
//! | 6.13 | ours/weaknesses.rs | an_idle_client_makes_room_after_its_time |
//! | 6.13 | ours/relay/dialling.rs | a_client_that_leaves_while_the_server_is_dialled_makes_room_for_the_next |
//! | 6.13 | ours/relay/dialling.rs | a_server_that_does_not_answer_is_given_up_after_the_time_out |
//! | 6.14 a bad log is found when a client comes | ours/diagnostics.rs | outputs_that_cannot_be_created |
//! | 6.14 | ours/diagnostics.rs | an_output_where_only_root_may_write |
//! | 6.15 a killed child takes its record along | compat/weaknesses/disks.rs | a_killed_worker_takes_nothing_from_the_file |
//! | 6.15 | ours/loss.rs | a_lost_parent_ends_everything |
//! | 6.15 | compat/weaknesses/disks.rs | a_record_is_in_its_file_while_the_session_is_open |
//! | 6.16 files are shared by accident | ours/limits.rs | an_output_is_exactly_the_file_named |
//! | 6.16 | compat/weaknesses/disks.rs | the_next_run_starts_the_file_again |
//! | 6.17 small writes wait | compat/relay.rs | a_second_write_does_not_wait_for_an_acknowledgement |
//! | 6.18 IPv4 is shown as IPv6 | compat/modes/internet.rs | over_both_families_a_client_with_an_ipv4_address_is_shown_by_it |

pub(crate) mod disks;
pub(crate) mod forging;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::leftovers::Leftovers;
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::table;
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::{is_original, known_to_fail_on_original};
use crate::support::wait::{until, within};
use crate::support::{nobody, place_of_our_own, proc};

#[test]
fn every_weakness_has_a_test_and_every_test_named_exists() {
    let mut weaknesses = BTreeSet::new();
    for row in table::rows(include_str!("weaknesses.rs"), "//! | 6.") {
        let [weakness, file, test] = row[..] else { panic!("three cells: {row:?}") };
        table::expect_test(&format!("tests/{file}"), test);
        weaknesses.insert(table::number(weakness));
    }
    assert_eq!(weaknesses, (1..=18).collect());
}

#[test]
fn a_set_uid_start_creates_no_socket_that_its_caller_could_not() {
    if !needs(&[Need::Root]) {
        return;
    }
    known_to_fail_on_original("it binds with root's power", || {
        let scratch = Scratch::new();
        let program = scratch.copy_of_program(0o4755);
        let directory = scratch.path("root-only");
        fs::create_dir(&directory).expect("mkdir");
        let path = directory.join("socket");
        let tcpreen = Tcpreen::to(80).binary(program).account(nobody()).args(["-p", "tcp/unix"]);
        let outcome = tcpreen.listen_on("").local_port(path.display()).run();
        assert!(outcome.stderr.contains("Permission denied"), "{outcome:?}");
        assert_eq!(outcome.code(), 77);
        assert!(!path.exists());
    });
}

#[test]
fn sigterm_stops_every_process_without_a_process_group() {
    known_to_fail_on_original("it signals a group that it does not lead", || {
        let scratch = Scratch::new();
        let echo = echo_server();
        let place = place_of_our_own();
        let tcpreen = Tcpreen::to(echo.port).listen_at(place).output(scratch.path("record"));
        let mut shell = tcpreen.by_shell("", "& wait").start();
        let mut client = Peer::connect_to(place);
        client.send("words");
        client.expect("words");
        let program = until("the program", || proc::descendants(shell.pid()).first().copied());
        let processes = Leftovers::of(program);
        kill(program, Signal::SIGTERM).expect("kill");
        client.expect_hang_up();
        within(Duration::from_secs(2), "the end of all its processes", || processes.are_gone().then_some(()));
        shell.wait();
        assert!(Peer::try_connect(place).is_none(), "the port is free");
        let record = scratch.record("record");
        assert!(record.contains("<<< words\n") && record.ends_with("End of transmission.\n"), "{record}");
    });
}

#[test]
fn sigterm_is_not_forwarded_to_the_process_group() {
    known_to_fail_on_original("it signals the whole group that it leads", || {
        let before = "sleep 60 >/dev/null 2>&1 & echo \"other $!\"";
        let tcpreen = Tcpreen::to(80).by_shell(before, "").start();
        let stdout = tcpreen.stdout_with("other ");
        let other = stdout.trim().strip_prefix("other ").expect("a number").parse().expect("a number");
        let other = Pid::from_raw(other);
        tcpreen.signal(Signal::SIGTERM);
        tcpreen.finish();
        let survived = proc::is_alive(other);
        let _ = kill(other, Signal::SIGKILL);
        assert!(survived);
    });
}

#[test]
fn workers_that_are_killed_together_are_all_replaced() {
    known_to_fail_on_original("it waits for one child at each SIGCHLD", || {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).at_once(3).start();
        let serve_three = || {
            let mut clients: Vec<Peer> = (0..3).map(|_| tcpreen.connect()).collect();
            clients.iter_mut().for_each(|client| client.send("hello"));
            clients.iter_mut().for_each(|client| client.expect("hello"));
            clients
        };
        for _ in 0..3 {
            let mut clients = serve_three();
            let mut roles = tcpreen.roles();
            let (reaper, workers) = if is_original() { ("parent", "child") } else { ("zygote", "worker") };
            let reaper = roles[reaper][0];
            kill(reaper, Signal::SIGSTOP).expect("kill");
            let workers = roles.remove(workers).expect("workers");
            for worker in &workers {
                kill(*worker, Signal::SIGKILL).expect("kill");
            }
            // A dying worker could still be given a session.
            until("their end", || (!workers.iter().any(|pid| proc::is_alive(*pid))).then_some(()));
            clients.iter_mut().for_each(Peer::expect_hang_up);
            kill(reaper, Signal::SIGCONT).expect("kill");
            drop(serve_three());
        }
    });
}

#[test]
fn with_stdout_closed_nothing_of_the_log_reaches_a_peer() {
    known_to_fail_on_original("the log goes to the descriptor that is free", || {
        for closed in ["1>&-", "0<&- 1>&-"] {
            let server = Server::listen();
            let tcpreen = Tcpreen::to(server.port()).args(["-v"]).by_shell("", closed).start();
            let (client, server) = (tcpreen.connect(), server.accept());
            let server = std::thread::spawn(move || server.exchange(Payload::new(2, 16000)));
            let client = client.exchange(Payload::new(1, 16000)).expect("the client");
            let server = server.join().expect("no panic").expect("the server");
            assert_eq!((server.received, client.received), (client.sent, server.sent), "{closed}");
        }
    });
}

#[test]
fn an_idle_client_leaves_the_other_places_free() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(2).start();
    let mut idle = tcpreen.connect();
    for _ in 0..10 {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
        drop(client);
        echo.result();
    }
    idle.send("still here");
    idle.expect("still here");
}
