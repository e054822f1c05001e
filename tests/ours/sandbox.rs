//! The sandbox on systems that lack some of its mechanisms, and the options about it.

use nix::sys::signal::{Signal, kill};

use crate::support::peer::{Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Running, Tcpreen};
use crate::support::{Bridged, bridge, nobody};

/// Landlock errors of kernels that are too old or have it disabled, and of some containers.
const WITHOUT_LANDLOCK: [&str; 3] = ["ENOSYS", "EOPNOTSUPP", "EINVAL"];

fn with_fault(tcpreen: Tcpreen, call: &str, error: &str) -> Tcpreen {
    let strace = format!("exec strace -f -qq -o /dev/null -e trace={call} -e inject={call}:error={error}");
    tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "")
}

/// Passes `words` through the bridge, in both directions.
#[track_caller]
fn serves(tcpreen: &Running) {
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.finish();
    client.expect_end();
}

#[track_caller]
fn ends_with(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code(), code, "{outcome:?}");
    assert!(!outcome.stderr.contains("Listening"), "{outcome:?}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part:?} in {outcome:?}");
    }
}

/// Runs the program as an ordinary user, below `command`.
fn under(scratch: &Scratch, command: &str, server: u16) -> Tcpreen {
    let program = scratch.copy_of_program(0o755);
    Tcpreen::to(server).binary(program).by_shell(&format!("exec {command} \"$0\" \"$@\""), "")
}

#[test]
fn without_landlock_it_serves_and_reports_that_when_verbose() {
    if !needs(&[Need::Program("strace")]) {
        return;
    }
    let echo = echo_server();
    for error in WITHOUT_LANDLOCK {
        let tcpreen = Tcpreen::to(echo.port).args(["-v", "-v"]);
        let tcpreen = with_fault(tcpreen, "landlock_create_ruleset", error).start();
        serves(&tcpreen);
        for role in ["resolver", "logger", "zygote", "parent"] {
            let line = tcpreen.stderr_line(&format!("{role}: "));
            assert!(line.contains("seccomp on, Landlock none; without Landlock"), "{error}: {line}");
        }
    }
}

#[test]
fn without_landlock_the_whole_sandbox_is_not_there() {
    if !needs(&[Need::Program("strace")]) {
        return;
    }
    for error in WITHOUT_LANDLOCK {
        let tcpreen = Tcpreen::to(9).args(["--require-sandbox=full"]);
        let outcome = with_fault(tcpreen, "landlock_create_ruleset", error).run();
        ends_with(&outcome, 71, &["the resolver", "--require-sandbox=full", "Landlock"]);
    }
}

#[test]
fn without_seccomp_it_does_not_serve() {
    if !needs(&[Need::Program("strace")]) {
        return;
    }
    let outcome = with_fault(Tcpreen::to(9), "seccomp", "ENOSYS").run();
    ends_with(&outcome, 71, &["the resolver cannot be confined: seccomp", "nothing is forwarded"]);
}

#[test]
fn root_has_the_whole_sandbox() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["--require-sandbox=full", "-v", "-v"]).start();
    serves(&tcpreen);
    assert!(!tcpreen.stderr().contains("without"), "{}", tcpreen.stderr());
    for role in ["resolver", "logger", "zygote", "parent"] {
        let line = tcpreen.stderr_line(&format!("{role}: "));
        assert!(line.contains(", MDWE on, mseal on, seccomp on, Landlock full (ABI "), "{line}");
    }
}

#[test]
fn starting_creates_no_name_in_any_directory() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    let (scratch, echo) = (Scratch::new(), echo_server());
    let calls = scratch.path("calls");
    let making = "mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,link,linkat,rename,renameat,renameat2";
    let strace = format!("umask 0; exec strace -f -qq -o {} -e trace={making},chroot", calls.display());
    let tcpreen = Tcpreen::to(echo.port).args(["--require-sandbox=full"]);
    let tcpreen = tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "").start();
    serves(&tcpreen);
    drop(tcpreen);
    let calls = std::fs::read_to_string(&calls).expect("what was called");
    // strace shows calls that it does not know, such as mseal, in every set, and one call on two lines if another
    // process makes one in between.
    let lines: Vec<&str> = calls
        .lines()
        .filter(|line| !["+++", "---", "syscall_0x", "resumed>"].iter().any(|it| line.contains(it)))
        .collect();
    assert!(lines.len() == 1 && lines[0].contains("chroot(\".\")"), "{calls}");
}

#[test]
fn an_ordinary_user_lacks_the_restrictions_that_need_root() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let tcpreen = Tcpreen::to(9).binary(program).account(nobody());
    let outcome = tcpreen.args(["--require-sandbox=full"]).run();
    ends_with(&outcome, 71, &["--require-sandbox=full", "CAP_"]);
}

#[test]
fn a_container_without_capabilities_has_every_restriction_that_needs_none() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let (uid, gid) = nobody();
    let scratch = Scratch::new();
    let echo = echo_server();
    let setpriv = format!("setpriv --reuid={uid} --regid={gid} --clear-groups --bounding-set=-all");
    let tcpreen = under(&scratch, &setpriv, echo.port).args(["-v", "-v"]).start();
    serves(&tcpreen);
    let line = tcpreen.stderr_line("zygote: ");
    assert!(line.contains("seccomp on"), "{line}");
    assert!(
        line.ends_with("; without an empty root directory (CAP_SYS_CHROOT, and /proc or /var/empty)"),
        "{line}"
    );
    let line = tcpreen.stderr_line("parent: ");
    assert!(!line.contains("without"), "{line}");
}

#[test]
fn a_user_namespace_has_every_restriction_that_needs_no_capability() {
    if !needs(&[Need::Root, Need::UserNamespace]) {
        return;
    }
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = under(&scratch, "unshare --user", echo.port).args(["-v", "-v"]).start();
    serves(&tcpreen);
    let line = tcpreen.stderr_line("zygote: ");
    assert!(line.contains("seccomp on") && line.contains("CAP_SYS_CHROOT"), "{line}");
}

#[test]
fn root_without_setuid_gets_an_error_with_a_remedy() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let scratch = Scratch::new();
    let outcome = under(&scratch, "setpriv --bounding-set=-all", 9).run();
    ends_with(&outcome, 71, &["CAP_SETUID", "start it as another user"]);
}

#[test]
fn root_with_setuid_only_drops_and_reports_missing_restrictions() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let scratch = Scratch::new();
    let echo = echo_server();
    let setpriv = "setpriv --bounding-set=-all,+setuid,+setgid";
    let tcpreen = under(&scratch, setpriv, echo.port).args(["-v", "-v"]).start();
    serves(&tcpreen);
    let line = tcpreen.stderr_line("zygote: ");
    assert!(line.contains("CAP_SYS_CHROOT") && line.contains("CAP_SETPCAP"), "{line}");
}

#[test]
fn sandbox_log_is_reported_even_with_quiet() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["-q", "--sandbox=log"]).local_port(0).start();
    tcpreen.stderr_line("--sandbox=log: the sandbox is off");
    serves(&tcpreen);
}

#[test]
fn a_set_uid_start_rejects_sandbox_log() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o4755);
    let outcome = Tcpreen::to(9).binary(program).account(nobody()).args(["--sandbox=log"]).run();
    ends_with(&outcome, 77, &["--sandbox=log", "set-uid"]);
}

#[test]
fn a_worker_killed_by_its_filter_is_named_with_its_session_and_a_remedy() {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes for the one to kill.
    }
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    let worker = tcpreen.busy_worker();
    kill(worker, Signal::SIGSYS).expect("kill");
    tcpreen.stderr_line(&format!("Child {worker} killed by signal 31 (Bad system call) in session 1"));
    let advice = tcpreen.stderr_line("type=1326");
    assert!(advice.contains(&format!("pid={worker} syscall=N")), "{advice}");
    assert!(advice.contains("--sandbox=log"), "{advice}");
    drop((client, server));
}

#[test]
fn a_role_killed_by_its_filter_is_named_with_a_remedy() {
    for role in ["resolver", "logger", "zygote"] {
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).start();
        let pid = tcpreen.role(role);
        kill(pid, Signal::SIGSYS).expect("kill");
        if role == "resolver" {
            tcpreen.stderr_line("lost the resolver (killed by signal 31, Bad system call)");
            tcpreen.stderr_line(&format!("type=1326 pid={pid} syscall=N"));
            continue;
        }
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 69, "{outcome:?}");
        let lost = format!("lost the {role} (killed by signal 31, Bad system call)");
        assert!(outcome.stderr.contains(&lost), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("type=1326 pid={pid} syscall=N")), "{outcome:?}");
    }
}
