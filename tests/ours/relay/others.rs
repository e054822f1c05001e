//! The table of cases through another program, by hand: `RELAY_OTHER=socat cargo test --test tcpreen relay::others --
//! --nocapture` prints how many cases it passes, and which it does not. Others: `haproxy`, and `1.4.4` for Debian's
//! tcpreen.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::cases::{Case, cases};
use super::script::Stage;
use super::table::{Family, Listener, Place, agree};
use crate::support::scratch::Scratch;

/// A program that forwards, in a process group of its own, whose end is that of the group.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

const HAPROXY: &str = "\
defaults
  mode tcp
  timeout connect 30s
  timeout client 1h
  timeout server 1h
listen it
  bind LISTEN
  server one SERVER
";

/// Starts it between clients at the place that is returned and the server.
fn start(name: &str, family: Family, server: &Place, scratch: &Scratch) -> (Other, Place) {
    let place = match family {
        Family::Tcp => {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            Place::Tcp(free.local_addr().expect("an address"))
        }
        Family::Unix => Place::Unix(scratch.path("clients")),
        Family::Packets => Place::Packets(scratch.path("clients")),
    };
    let mut command = match name {
        "socat" => socat(&place, server),
        "haproxy" => haproxy(&place, server, &scratch.path("haproxy.cfg")),
        "1.4.4" => original(&place, server),
        other => panic!("socat, haproxy or 1.4.4, not {other}"),
    };
    use std::os::unix::process::CommandExt;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let other = Other(command.spawn().expect("it starts"));
    (other, place)
}

fn socat(clients: &Place, server: &Place) -> Command {
    let [from, to] = match (clients, server) {
        (Place::Tcp(from), Place::Tcp(to)) => {
            [format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork", from.port()), format!("TCP:{to}")]
        }
        (Place::Unix(from), Place::Unix(to)) => {
            [format!("UNIX-LISTEN:{},fork", from.display()), format!("UNIX-CONNECT:{}", to.display())]
        }
        (Place::Packets(from), Place::Packets(to)) => [
            format!("UNIX-LISTEN:{},type=5,fork", from.display()),
            format!("UNIX-CONNECT:{},type=5", to.display()),
        ],
        _ => panic!("both sides are of one family"),
    };
    let mut command = Command::new("socat");
    command.args(["-t", "3600", &from, &to]);
    command
}

fn haproxy(clients: &Place, server: &Place, file: &Path) -> Command {
    let address = |place: &Place| match place {
        Place::Tcp(address) => address.to_string(),
        Place::Unix(path) | Place::Packets(path) => format!("unix@{}", path.display()),
    };
    let settings = HAPROXY.replace("LISTEN", &address(clients)).replace("SERVER", &address(server));
    fs::write(file, settings).expect("a file");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    command
}

fn original(clients: &Place, server: &Place) -> Command {
    let port = |address: &SocketAddr| address.port().to_string();
    let mut command = Command::new("/usr/bin/tcpreen");
    command.args(["-n", "-q", "-F", "8"]);
    match (clients, server) {
        (Place::Tcp(from), Place::Tcp(to)) => {
            command.args(["-s", "127.0.0.1", "-a", "127.0.0.1", &port(to), &port(from)])
        }
        (Place::Unix(from) | Place::Packets(from), Place::Unix(to) | Place::Packets(to)) => {
            command.args(["-p", "unix"]).arg(to).arg(from)
        }
        _ => panic!("both sides are of one family"),
    };
    command
}

/// Cases that pass, and names of those that do not.
fn play(name: &str, family: Family) -> (usize, Vec<String>) {
    let scratch = Scratch::new();
    let listener = Listener::new(family, &scratch);
    let direct = listener.place(family, &scratch);
    let (_other, through) = start(name, family, &direct, &scratch);
    drop(through.connect());
    drop(listener.accept());
    let (mut passed, mut failed) = (0, Vec::new());
    for case in cases(family) {
        let Case { name, script, swapped, .. } = &case;
        let observe = |place: &Place| {
            let accept = || listener.accept();
            let play = || Stage::new(place.connect(), &accept, *swapped).play(script);
            catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| vec!["no connection".into()])
        };
        let (expected, observed) = (observe(&direct), observe(&through));
        if agree(family, &expected, &observed) {
            passed += 1;
        } else {
            failed.push(name.clone());
        }
        // A connection that comes late belongs to this case.
        while listener.accept_now().is_some() {}
    }
    (passed, failed)
}

#[test]
fn the_table_through_another_program() {
    let Ok(name) = env::var("RELAY_OTHER") else { return };
    // The others have no sockets of packets.
    let families = [Family::Tcp, Family::Unix, Family::Packets];
    for family in families.into_iter().take(if name == "socat" { 3 } else { 2 }) {
        let (passed, failed) = play(&name, family);
        println!("{name}, {family:?}: {passed} of {} cases pass; not:", passed + failed.len());
        failed.iter().for_each(|name| println!("  {name}"));
    }
}
