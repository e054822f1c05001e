//! `contrib/wireshark/tcpreen`: the bridge as an interface of Wireshark.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::wait::until;
use crate::support::{nobody, place_of_our_own};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/wireshark/tcpreen");

/// A folder for extcap programs, with ours.
struct Folder {
    scratch: Scratch,
    program: PathBuf,
}

impl Folder {
    fn new() -> Folder {
        let scratch = Scratch::new();
        let program = scratch.copy_of_program(0o755);
        for folder in ["extcap", "home"] {
            fs::create_dir(scratch.path(folder)).expect("a folder");
        }
        fs::set_permissions(scratch.path("home"), fs::Permissions::from_mode(0o777)).expect("chmod");
        scratch.executable(Path::new(SCRIPT), "extcap/tcpreen", 0o755);
        Folder { scratch, program }
    }

    /// tshark, which ignores the folder when root starts it.
    fn tshark(&self) -> Command {
        let mut tshark = Command::new("tshark");
        tshark.env("WIRESHARK_EXTCAP_DIR", self.scratch.path("extcap")).env("TCPREEN", &self.program);
        tshark.env("HOME", self.scratch.path("home")).stdin(Stdio::null());
        if Uid::effective().is_root() {
            let (user, group) = nobody();
            tshark.uid(user.as_raw()).gid(group.as_raw());
        }
        tshark
    }
}

fn script(arguments: &[&str]) -> Output {
    Command::new(SCRIPT).args(arguments).env("TCPREEN", "/bin/echo").output().expect("the script")
}

#[test]
fn tshark_lists_the_interface_and_its_link_type() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let folder = Folder::new();
    let list = folder.tshark().arg("-D").output().expect("tshark");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains(". tcpreen (TCP sessions through a bridge)"), "{list}");
    let types = folder.tshark().args(["-i", "tcpreen", "-L"]).output().expect("tshark");
    let types = [types.stdout, types.stderr].concat();
    let types = String::from_utf8_lossy(&types);
    assert!(types.contains("LINKTYPE_RAW"), "{types}");
}

#[test]
fn tshark_captures_live_and_the_end_of_the_capture_ends_the_bridge() {
    if !needs(&[Need::Program("tshark")]) {
        return;
    }
    let folder = Folder::new();
    let server = Server::listen();
    let listen = place_of_our_own();
    let mut capture = folder
        .tshark()
        .args(["-i", "tcpreen", "-l", "-T", "fields", "-e", "tcp.payload"])
        .args(["-o", &format!("extcap.tcpreen.server:127.0.0.1:{}", server.port())])
        .args(["-o", &format!("extcap.tcpreen.listen:{listen}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark");
    let mut client = until("the bridge", || Peer::try_connect(listen));
    let mut peer = server.accept();
    client.send("ping");
    peer.expect("ping");
    peer.send("pong");
    client.expect("pong");
    // While the session is open.
    let shown = shown_until(&mut capture, "706f6e67");
    assert!(shown.contains("70696e67"), "{shown}");
    kill(Pid::from_raw(capture.id() as i32), Signal::SIGINT).expect("tshark");
    capture.wait().expect("tshark");
    until("the end of the bridge", || Peer::try_connect(listen).is_none().then_some(()));
    client.expect_hang_up();
}

/// Reads what tshark prints until this is in it.
fn shown_until(capture: &mut Child, end: &str) -> String {
    let stdout = capture.stdout.as_mut().expect("a pipe");
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(end) {
        let mut room = [0; 1024];
        let length = stdout.read(&mut room).expect("a pipe");
        assert!(length > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&room[..length]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn the_form_becomes_a_command_line() {
    let form = String::from_utf8(script(&["--extcap-interface", "tcpreen", "--extcap-config"]).stdout)
        .expect("text");
    for argument in ["--server", "--listen", "--clients", "--options"] {
        assert!(form.contains(&format!("{{call={argument}}}")), "{form}");
    }
    let command = |extra: &[&str]| {
        let mut arguments = vec!["--capture", "--extcap-interface", "tcpreen", "--fifo=/tmp/f"];
        arguments.extend(extra);
        let output = script(&arguments);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let (status, line) =
        command(&["--server", "db:5432", "--listen=127.0.0.1:7000", "--options", "-n --idle-timeout 5s"]);
    assert_eq!(status, Some(0), "{line}");
    assert_eq!(line, "-q -F 64 -n --idle-timeout 5s -f pcapng -o /tmp/f -- db:5432 127.0.0.1:7000\n");
    // A server cannot be taken for an option, nor a value for a command of the shell.
    let (_, line) = command(&["--server", "-o/etc/passwd", "--listen", "$(id)"]);
    assert_eq!(line, "-q -F 64 -f pcapng -o /tmp/f -- -o/etc/passwd $(id)\n");
    for missing in [&["--server", "a:1"][..], &["--listen", "1"], &["--unknown"]] {
        let (status, error) = command(missing);
        assert_eq!(status, Some(64), "{error}");
        assert!(error.starts_with("tcpreen: "), "{error}");
    }
}
