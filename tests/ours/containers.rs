//! Starts in incomplete systems, as in containers, made of a root file system and namespaces for each test.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

use crate::support::container::Container;
use crate::support::launcher::launcher;
use crate::support::peer::{Peer, Service, Traffic, echo_server};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

const NEEDS: [Need; 3] = [Need::Root, Need::MountNamespace, Need::Program("setpriv")];

/// A user id without an account or processes.
const USER: u32 = 34567;

#[track_caller]
fn serves(tcpreen: &Running) {
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.finish();
    client.expect_end();
}

/// Runs a session in the container, recorded in its volume. Returns the output.
#[track_caller]
fn serves_and_records(container: &Container, options: &[&str], echo: &Service<Traffic>) -> Running {
    let tcpreen = container.command(echo.port).args(options).args(["-o", "/records/record"]).start();
    serves(&tcpreen);
    let record = container.record("record");
    until("the record", || fs::read_to_string(&record).ok().filter(|text| text.contains("<<< words")));
    tcpreen
}

#[track_caller]
fn expect_user(tcpreen: &Running, uid: u32, gid: u32) {
    // The worker of the served session ends meanwhile.
    let processes: Vec<_> = tcpreen
        .processes()
        .into_iter()
        .filter_map(|pid| Some((proc::role(pid), proc::status(pid)?)))
        .collect();
    assert!(processes.len() >= 4, "the parent and three lasting roles: {processes:?}");
    for (role, status) in processes {
        assert_eq!((status.ids("Uid"), status.ids("Gid")), (vec![uid; 4], vec![gid; 4]), "{role:?}");
        assert_eq!((status.get("CapPrm"), status.get("CapEff")), ("0000000000000000", "0000000000000000"));
    }
}

#[test]
fn a_usual_container_has_the_whole_sandbox() {
    if !needs(&NEEDS) {
        return;
    }
    let (container, echo) = (Container::new(), echo_server());
    serves_and_records(&container, &["--require-sandbox=full", "-u", "nobody"], &echo);
}

#[test]
fn without_proc_the_start_says_so() {
    if !needs(&NEEDS) {
        return;
    }
    for user in ["root", "user"] {
        let container = Container::new().without_proc();
        let container = if user == "user" {
            container.by("/usr/bin/setpriv --reuid 34567 --regid 34567 --clear-groups")
        } else {
            container
        };
        let outcome = container.command(9).run();
        assert_eq!(outcome.code(), 71, "{outcome:?}");
        let said = &outcome.stderr;
        assert!(said.contains("/proc is not mounted") && said.contains("mount -t proc"), "{said}");
    }
}

#[test]
fn on_a_read_only_root_file_system_it_has_the_whole_sandbox() {
    if !needs(&NEEDS) {
        return;
    }
    let (container, echo) = (Container::new().read_only(), echo_server());
    serves_and_records(&container, &["--require-sandbox=full", "-u", "nobody"], &echo);
}

#[test]
fn without_accounts_a_number_is_a_user() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for (words, uid, gid) in [("1000", 1000, 1000), ("1000:1001", 1000, 1001), ("65534:65533", 65534, 65533)]
    {
        let container = Container::new().without_accounts();
        let tcpreen = serves_and_records(&container, &["-u", words], &echo);
        expect_user(&tcpreen, uid, gid);
    }
    let container = Container::new().without_accounts();
    let tcpreen = serves_and_records(&container, &[], &echo);
    expect_user(&tcpreen, 65534, 65534);
    tcpreen.stderr_line("Started as root: going on as uid 65534 (choose a user with -u)");
}

#[test]
fn without_accounts_a_user_name_is_an_error_with_a_remedy() {
    if !needs(&NEEDS) {
        return;
    }
    for name in ["tcpreen", "1000:tcpreen"] {
        let outcome = Container::new().without_accounts().command(9).args(["-u", name]).run();
        assert_eq!(outcome.code(), 64, "{outcome:?}");
        let words =
            format!("{name}: invalid user (there is no /etc/passwd: numbers do without, -u UID:GID).");
        assert!(outcome.stderr.contains(&words), "{outcome:?}");
    }
}

/// Arguments that `podman run` in the head of the recipe passes to the program, without server and port, and
/// its user.
fn recipe() -> (Vec<&'static str>, &'static str, &'static str) {
    let text = include_str!("../../contrib/container/Containerfile");
    let arguments = text.lines().find_map(|line| line.strip_prefix("#       tcpreen ")).expect("the command");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    assert_eq!(arguments.split_off(arguments.len() - 2), ["backend:80", "8080"]);
    let user = text.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    let (uid, gid) = user.split_once(':').expect("a group");
    (arguments, uid, gid)
}

#[test]
fn the_container_recipe_works_within_its_restrictions() {
    if !needs(&NEEDS) {
        return;
    }
    let (echo, (arguments, uid, gid)) = (echo_server(), recipe());
    let setpriv = format!(
        "/usr/bin/setpriv --reuid {uid} --regid {gid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
    );
    let container = Container::new().read_only().first_process().by(&setpriv);
    let tcpreen = container.command(echo.port).args(arguments).start();
    serves(&tcpreen);
    let record = container.record("sessions.log");
    until("the record", || fs::read_to_string(&record).ok().filter(|text| text.contains("<<< words")));
    assert_eq!(fs::metadata(&record).expect("the record").uid().to_string(), uid);
    kill(inner(&tcpreen), Signal::SIGTERM).expect("kill");
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn without_an_entry_for_its_user_it_serves() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for container in [Container::new(), Container::new().without_accounts().read_only()] {
        // As OpenShift does: an arbitrary user id in root's group.
        let container = container
            .by(&format!("/usr/bin/setpriv --reuid {USER} --regid 0 --clear-groups --inh-caps=-all"));
        let tcpreen = serves_and_records(&container, &[], &echo);
        expect_user(&tcpreen, USER, 0);
    }
}

/// Runs as uid 0 of a user namespace with a single user.
fn alone(scratch: &Scratch, words: &str, server: u16) -> Tcpreen {
    let program = scratch.copy_of_program(0o755);
    let command = format!("exec {words} unshare --user --map-root-user");
    Tcpreen::to(server).binary(program).by_shell(&format!("{command} \"$0\" \"$@\""), "")
}

fn has_user_namespaces() -> bool {
    needs(&[Need::Root, Need::UserNamespace, Need::Program("unshare"), Need::Program("setpriv")])
}

#[test]
fn root_of_a_single_user_namespace_continues_as_that_user() {
    if !has_user_namespaces() {
        return;
    }
    let echo = echo_server();
    // Groups stay where setgroups is denied; nothing else is missing.
    for (groups, full) in [("--clear-groups", true), ("--groups 4,5", false)] {
        let scratch = Scratch::new();
        let words = format!("setpriv --reuid {USER} --regid {USER} {groups}");
        let record = scratch.path("record");
        let mut tcpreen = alone(&scratch, &words, echo.port).output(&record).args(["-v", "-v"]);
        if full {
            tcpreen = tcpreen.args(["--require-sandbox=full"]);
        }
        let tcpreen = tcpreen.start();
        tcpreen.stderr_line("going on as that user, without root's power");
        serves(&tcpreen);
        expect_user(&tcpreen, USER, USER);
        assert_eq!(tcpreen.stderr().contains("supplementary groups"), !full, "{}", tcpreen.stderr());
        assert_eq!(fs::metadata(&record).expect("the record").uid(), USER);
    }
}

#[test]
fn root_of_a_namespace_with_one_user_that_is_root_outside_is_refused() {
    if !has_user_namespaces() {
        return;
    }
    let scratch = Scratch::new();
    let record = scratch.path("record");
    let outcome = alone(&scratch, "", 9).output(&record).run();
    assert_eq!(outcome.code(), 71, "{outcome:?}");
    assert!(outcome.stderr.contains("root's power is never kept"), "{outcome:?}");
    assert!(!record.exists());
}

#[test]
fn a_user_that_is_not_in_the_namespace_is_named() {
    if !has_user_namespaces() {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    // Two users: root, and another one than the one requested.
    let script = format!(
        "import os, sys\n\
         ready, go = os.pipe(), os.pipe()\n\
         child = os.fork()\n\
         if child == 0:\n    \
             os.unshare(os.CLONE_NEWUSER) if hasattr(os, 'unshare') else __import__('ctypes').CDLL(None).unshare(0x10000000)\n    \
             os.write(ready[1], b'.'); os.read(go[0], 1)\n    \
             os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)\n    \
             os.execv('{0}', ['{0}', '-u', '4711', '-n', '9', '127.0.0.1:0'])\n\
         os.read(ready[0], 1)\n\
         for kind in 'uid', 'gid':\n    open(f'/proc/{{child}}/{{kind}}_map', 'w').write('0 100000 2\\n')\n\
         os.write(go[1], b'.')\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
        program.display()
    );
    let output = std::process::Command::new(skip::PYTHON).args(["-I", "-c", &script]).output();
    let output = output.expect("python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(71), "{said}");
    assert!(said.contains("uid 4711 does not exist in this user namespace"), "{said}");
}

/// The program, where the process that was started is an `unshare` that waits for it.
fn inner(running: &Running) -> Pid {
    until("the first process of the namespace", || {
        let child = proc::descendants(running.pid()).into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "tcpreen")
        })?;
        Some(child)
    })
}

#[test]
fn as_the_first_process_it_reaps_the_orphans_of_others_and_obeys_signals() {
    if !(needs(&NEEDS) && needs(&[Need::Program("nsenter")])) {
        return;
    }
    let (container, echo) = (Container::new().first_process(), echo_server());
    let tcpreen = container.command(echo.port).args(["-u", "nobody"]).start();
    let first = inner(&tcpreen);
    for _ in 0..3 {
        // Its child is orphaned at once, and ends later: the pipe is closed by both.
        let script = "(exec sleep 0.1) & exit 0";
        let mut enter = std::process::Command::new("nsenter");
        enter.args(["--pid", "--target", &first.to_string(), "sh", "-c", script]);
        let mut child = enter.stdout(std::process::Stdio::piped()).spawn().expect("nsenter");
        let mut nothing = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut nothing).expect("the end of the orphan");
        assert!(child.wait().expect("wait").success());
    }
    serves(&tcpreen);
    until("no zombie", || {
        let family = proc::descendants(first);
        family.iter().all(|pid| proc::is_alive(*pid)).then_some(())
    });
    kill(first, Signal::SIGTERM).expect("kill");
    assert_eq!(tcpreen.finish().code(), 143);
}

/// Runs as an ordinary user without other processes, below these limits.
fn limited(scratch: &Scratch, limits: &str, server: u16) -> Tcpreen {
    let program = scratch.copy_of_program(0o755);
    let command =
        format!("{limits}; exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$0\" \"$@\"");
    Tcpreen::to(server).binary(program).by_shell(&command, "").with_names()
}

#[test]
fn a_limit_that_is_too_low_is_named_in_one_line() {
    if !needs(&NEEDS) {
        return;
    }
    let scratch = Scratch::new();
    for (limits, name) in [
        ("ulimit -u 1", "ulimit -u"),
        ("ulimit -u 3", "ulimit -u"),
        ("ulimit -n 12", "ulimit -n"),
        ("ulimit -n 16", "ulimit -n"),
    ] {
        let outcome = limited(&scratch, limits, 9).run();
        let said = &outcome.stderr;
        assert!(said.contains(name) && said.lines().count() == 1, "{limits}: {said}");
        assert_eq!(outcome.code(), 71, "{limits}: {outcome:?}");
    }
}

#[test]
fn any_process_limit_is_sufficient_or_named() {
    if !needs(&NEEDS) {
        return;
    }
    let (scratch, echo) = (Scratch::new(), echo_server());
    let (mut served, mut refused) = (0, 0);
    for limit in 1..=12 {
        let tcpreen = limited(&scratch, &format!("ulimit -u {limit}"), echo.port).spawn();
        let line = tcpreen.stderr_line("");
        let Some(place) = line.strip_prefix("Listening on: ") else {
            let outcome = tcpreen.finish();
            assert!(
                line.contains("ulimit -u") && outcome.stderr.lines().count() == 1,
                "{limit}: {outcome:?}"
            );
            assert_eq!(outcome.code(), 71, "{limit}: {outcome:?}");
            refused += 1;
            continue;
        };
        let port = place.rsplit(' ').next().and_then(|port| port.parse().ok());
        let mut client = Peer::connect(port.unwrap_or_else(|| panic!("{limit}: {line}")));
        client.send("words");
        client.expect("words");
        served += 1;
    }
    assert!(refused >= 5, "five processes are what the program itself is: {refused}");
    assert!(served > 0, "none of these limits is enough");
}

#[test]
fn calls_that_a_profile_forbids_have_their_fallback() {
    if !needs(&[Need::Root, Need::Program("cc")]) {
        return;
    }
    let (scratch, echo) = (Scratch::new(), echo_server());
    let program = scratch.copy_of_program(0o755);
    let calls = [
        ("close_range", libc::SYS_close_range),
        ("clone3", libc::SYS_clone3),
        ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
        ("landlock_add_rule", libc::SYS_landlock_add_rule),
        ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
    ];
    for (name, number) in calls {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let deny = format!(
                "exec 33</dev/null 44</dev/null; exec {} deny={number}={errno} --",
                launcher().display()
            );
            let tcpreen =
                Tcpreen::to(echo.port).binary(program.clone()).by_shell(&format!("{deny} \"$0\" \"$@\""), "");
            let tcpreen = tcpreen
                .with_names()
                .account((Uid::from_raw(USER), Gid::from_raw(USER)))
                .args(["-v", "-v"])
                .start();
            serves(&tcpreen);
            for pid in tcpreen.processes() {
                let open = proc::descriptors(pid);
                assert!(!open.contains_key(&33) && !open.contains_key(&44), "{name}: {open:?}");
            }
            let said = tcpreen.stderr();
            assert_eq!(said.contains("Landlock none"), name.starts_with("landlock"), "{name}: {said}");
        }
    }
}
