//! Every NSS module that Debian packages, with its daemon absent, silent or sending garbage.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use crate::compat::names::CLIENT;
use crate::compat::names::bridge_with_names;
use crate::compat::names::client;
use crate::compat::names::ping;
use crate::compat::names::with_hosts;
use crate::ours::names::hostile::expect_unharmed;
use crate::support::name_server::{NameServer, Trick, Zone};
use crate::support::namespace::mount_disk;
use crate::support::peer::echo_server;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;

/// Lines as in distributions, and modules alone.
const HOSTS: [&str; 9] = [
    "files myhostname dns",
    "mymachines resolve [!UNAVAIL=return] files myhostname dns",
    "files mdns4_minimal [NOTFOUND=return] dns",
    "files mdns dns",
    "files mdns6 dns",
    "files sss dns",
    "files winbind dns",
    "files wins dns",
    "files ldap dns",
];

const MODULES: [&str; 9] =
    ["myhostname", "mymachines", "resolve", "mdns4_minimal", "mdns", "sss", "winbind", "wins", "ldap"];

/// Socket paths of daemons.
const DAEMONS: [&str; 7] = [
    "/run/nscd/socket",
    "/run/avahi-daemon/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nslcd/socket",
    "/run/dbus/system_bus_socket",
    "/run/samba/winbindd/pipe",
    "/var/lib/sss/pipes/nss",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NssDaemon {
    Absent,
    /// Accepts and sends nothing.
    Mute,
    /// Sends garbage.
    Raving,
}

fn start(daemon: NssDaemon) {
    mount_disk("1M", Path::new("/run"));
    mount_disk("1M", Path::new("/var/lib"));
    for place in ["/run", "/var/lib"] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    if daemon == NssDaemon::Absent {
        return;
    }
    for place in DAEMONS {
        fs::create_dir_all(Path::new(place).parent().expect("a directory")).expect("a directory");
        let listener = UnixListener::bind(place).expect("a socket");
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).expect("chmod");
        thread::spawn(move || {
            let mut clients = Vec::new();
            for mut client in listener.incoming().flatten() {
                if daemon == NssDaemon::Raving {
                    let _ = client.write_all(&[0x01, 0x00, 0x00, 0x00].repeat(1000));
                } else {
                    clients.push(client);
                }
            }
        });
    }
}

#[test]
fn nss_modules_cost_at_most_a_name() {
    let modules = MODULES.map(Need::NssModule);
    if !needs(&modules) {
        return;
    }
    thread::scope(|scope| {
        for hosts in HOSTS {
            scope.spawn(move || {
                [NssDaemon::Absent, NssDaemon::Mute, NssDaemon::Raving].map(|daemon| try_one(hosts, daemon))
            });
        }
    });
}

fn try_one(hosts: &str, daemon: NssDaemon) {
    with_hosts("127.0.0.1 localhost\n", || {
        fs::write("/etc/nsswitch.conf", format!("hosts: {hosts}\nservices: files\n")).expect("a file");
        start(daemon);
        let zone = Zone::default().called(CLIENT, "friend.example").at("friend.example", CLIENT);
        let _server = NameServer::hostile(zone, Trick::Truncates);
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.at_once(9).format("null"));
        let mut client = client();
        ping(&mut client);
        let stdout = tcpreen.stdout_with("Connection from: ");
        if daemon == NssDaemon::Absent {
            assert!(stdout.contains("friend.example") || hosts.contains("mdns"), "{hosts}: {stdout}");
        }
        expect_unharmed(tcpreen, &format!("{hosts}, {daemon:?}"));
    });
}

/// Permits connections to daemons only if one is configured.
#[test]
fn lookups_reach_daemons_only_if_a_module_is_configured() {
    for (hosts, expected) in [("files dns", false), ("files myhostname dns", false), ("files mdns dns", true)]
    {
        with_hosts("", || {
            fs::write("/etc/nsswitch.conf", format!("hosts: {hosts}\n")).expect("a file");
            let page = Tcpreen::to(9).args(["--print-policy"]).run().stdout();
            let resolver = page.split("\nresolver").nth(1).and_then(|rest| rest.split("\nlogger").next());
            let unix = resolver.expect("its table").contains("socket(0 = 0x1, ");
            assert_eq!(unix, expected, "{hosts}: {page}");
        });
    }
}
