//! Real servers with one user, and clients for protocols that curl lacks.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use crate::support::place_of_our_own;
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::PYTHON;

/// Runs a script with Debian's own Python, which has Debian's modules.
pub fn python(script: &str, arguments: &[&str]) -> Command {
    let mut python = Command::new(PYTHON);
    python.args(["-I", "-c", script]).args(arguments);
    python
}

/// Outside the directory of the tests.
#[track_caller]
fn start(mut command: Command, place: SocketAddr) -> RealServer {
    RealServer::start(command.current_dir("/"), place)
}

fn scripted(script: &str, arguments: &[&str]) -> RealServer {
    let place = place_of_our_own();
    let (host, port) = (place.ip().to_string(), place.port().to_string());
    start(python(script, &[&[host.as_str(), &port], arguments].concat()), place)
}

/// Starts a server with a configuration file, in which words in capitals are replaced.
fn configured(configuration: &Path, text: &str, scratch: &Scratch, place: SocketAddr) {
    let text = text
        .replace("SCRATCH", scratch.path("").to_str().expect("a name in UTF-8").trim_end_matches('/'))
        .replace("HOST", &place.ip().to_string())
        .replace("PORT", &place.port().to_string());
    fs::write(configuration, text).expect("the configuration");
}

pub fn redis(password: &str) -> RealServer {
    let place = place_of_our_own();
    let mut server = Command::new("redis-server");
    server.args(["--bind", &place.ip().to_string(), "--port", &place.port().to_string()]);
    server.args(["--save", "", "--appendonly", "no", "--requirepass", password]);
    start(server, place)
}

const NGINX: &str = "
daemon off;
master_process off;
pid SCRATCH/pid;
error_log SCRATCH/errors;
events {}
http {
    access_log off;
    client_body_temp_path SCRATCH/body;
    proxy_temp_path SCRATCH/proxy;
    fastcgi_temp_path SCRATCH/fastcgi;
    uwsgi_temp_path SCRATCH/uwsgi;
    scgi_temp_path SCRATCH/scgi;
    server {
        listen HOST:PORT;
        auth_basic closed;
        auth_basic_user_file SCRATCH/users;
        root SCRATCH/pages;
    }
}
";

pub fn http(scratch: &Scratch, user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    fs::create_dir(scratch.path("pages")).expect("mkdir");
    fs::write(scratch.path("pages/index.html"), "hello").expect("a page");
    fs::write(scratch.path("users"), format!("{user}:{{PLAIN}}{password}\n")).expect("the users");
    let configuration = scratch.path("nginx.conf");
    configured(&configuration, NGINX, scratch, place);
    let mut server = Command::new("nginx");
    server.arg("-p").arg(scratch.path("")).arg("-e").arg(scratch.path("errors"));
    server.arg("-c").arg(configuration);
    start(server, place)
}

const FTP: &str = "
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
host, port, user, password, home = sys.argv[1:]
class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    auth_failed_timeout = 0
Handler.authorizer.add_user(user, password, home)
FTPServer((host, int(port)), Handler).serve_forever()
";

pub fn ftp(scratch: &Scratch, user: &str, password: &str) -> RealServer {
    scripted(FTP, &[user, password, scratch.path("").to_str().expect("a name in UTF-8")])
}

pub const FTP_CLIENT: &str = "
import ftplib, sys
port, user, password = sys.argv[1:]
with ftplib.FTP() as ftp:
    ftp.connect('127.0.0.1', int(port), timeout=20)
    ftp.login(user, password)
    ftp.pwd()
";

/// Everything in one directory, no TLS, and no delay after a wrong password. Mail belongs to `nobody`;
/// dovecot itself must be root.
const DOVECOT: &str = "
protocols = PROTOCOL
listen = HOST
base_dir = SCRATCH/run
state_dir = SCRATCH/run
log_path = SCRATCH/log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 apop
auth_failure_delay = 0
mail_location = maildir:SCRATCH/mail
passdb {
  driver = passwd-file
  args = scheme=plain SCRATCH/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=SCRATCH/mail
}
namespace inbox {
  inbox = yes
}
service LOGIN {
  inet_listener PROTOCOL {
    port = PORT
  }
  inet_listener PROTOCOLs {
    port = 0
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
";

/// dovecot with `pop3`, `imap` or `sieve`.
pub fn mailbox(scratch: &Scratch, protocol: &str, user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    fs::write(scratch.path("users"), format!("{user}:{password}\n")).expect("the users");
    let configuration = scratch.path("dovecot.conf");
    let login = match protocol {
        "sieve" => "managesieve-login".to_owned(),
        protocol => format!("{protocol}-login"),
    };
    let text = DOVECOT.replace("PROTOCOL", protocol).replace("LOGIN", &login);
    configured(&configuration, &text, scratch, place);
    let mut server = Command::new("dovecot");
    server.arg("-F").arg("-c").arg(configuration);
    start(server, place)
}

pub const POP3_CLIENT: &str = "
import poplib, sys
port, user, password = sys.argv[1:]
pop3 = poplib.POP3('127.0.0.1', int(port), timeout=20)
try:
    pop3.user(user)
    pop3.pass_(password)
    pop3.stat()
finally:
    pop3.quit()
";

/// LOGIN with quoted strings or with literals, or AUTHENTICATE.
pub const IMAP_CLIENT: &str = r#"
import imaplib, sys
port, user, password, how = sys.argv[1:]
with imaplib.IMAP4('127.0.0.1', int(port), timeout=20) as imap:
    if how == 'quoted':
        imap.login(user, password)
    elif how == 'plain':
        imap.authenticate('PLAIN', lambda _: f'\0{user}\0{password}'.encode())
    else:
        imap.literal = password.encode()
        status, text = imap._simple_command('LOGIN', user)
        if status != 'OK':
            raise imap.error(text)
"#;

const SMTP: &str = "
import signal, sys
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, LoginPassword
host, port, user, password = sys.argv[1:]
def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LoginPassword(user.encode(), password.encode()), handled=False)
Controller(Sink(), host, int(port), authenticator=authenticate, auth_required=True, auth_require_tls=False).start()
signal.pause()
";

pub fn smtp(user: &str, password: &str) -> RealServer {
    scripted(SMTP, &[user, password])
}

pub const SMTP_CLIENT: &str = "
import smtplib, sys
port, user, password, mechanism = sys.argv[1:]
with smtplib.SMTP('127.0.0.1', int(port), timeout=20) as smtp:
    smtp.ehlo()
    smtp.user, smtp.password = user, password
    smtp.auth(mechanism, getattr(smtp, 'auth_' + mechanism.lower()))
    smtp.sendmail('a@localhost', 'b@localhost', 'AUTH PLAIN AGIAYw==')
";

const SLAPD: &str = r#"
include /etc/ldap/schema/core.schema
database ldif
directory SCRATCH/directory
suffix "dc=example"
rootdn "cn=bob,dc=example"
rootpw "PASSWORD"
"#;

pub fn ldap(scratch: &Scratch, password: &str) -> RealServer {
    let place = place_of_our_own();
    fs::create_dir(scratch.path("directory")).expect("mkdir");
    let configuration = scratch.path("slapd.conf");
    let text = SLAPD.replace("PASSWORD", &password.replace('"', "\\\""));
    configured(&configuration, &text, scratch, place);
    let mut server = Command::new("slapd");
    server.args(["-d", "0", "-h", &format!("ldap://{place}"), "-f"]).arg(configuration);
    start(server, place)
}

const MOSQUITTO: &str = "
listener PORT HOST
allow_anonymous false
password_file SCRATCH/users
";

/// Started by root, it changes to its own user, who must be able to read the files.
pub fn mqtt(scratch: &Scratch, user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    let users = scratch.path("users");
    let mut made = Command::new("mosquitto_passwd");
    made.args(["-b", "-c"]).arg(&users).args([user, password]);
    assert!(made.status().expect("mosquitto_passwd").success());
    let mode = fs::Permissions::from_mode;
    fs::set_permissions(&users, mode(0o644)).expect("chmod");
    fs::set_permissions(scratch.path(""), mode(0o755)).expect("chmod");
    let configuration = scratch.path("mosquitto.conf");
    configured(&configuration, MOSQUITTO, scratch, place);
    let mut server = Command::new("mosquitto");
    server.arg("-c").arg(configuration);
    start(server, place)
}

pub fn socks(user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    let mut server = Command::new("microsocks");
    server.args(["-i", &place.ip().to_string(), "-p", &place.port().to_string(), "-u", user, "-P", password]);
    start(server, place)
}

pub fn nats(user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    let mut server = Command::new("nats-server");
    server.args(["-a", &place.ip().to_string(), "-p", &place.port().to_string()]);
    server.args(["--user", user, "--pass", password]);
    start(server, place)
}

const NGIRCD: &str = "
[Global]
Name = irc.example
Info = a test
Password = PASSWORD
Listen = HOST
Ports = PORT
[Options]
PAM = no
DNS = no
Ident = no
";

pub fn irc(scratch: &Scratch, password: &str) -> RealServer {
    let place = place_of_our_own();
    let configuration = scratch.path("ngircd.conf");
    configured(&configuration, &NGIRCD.replace("PASSWORD", password), scratch, place);
    let mut server = Command::new("ngircd");
    server.arg("-n").arg("-f").arg(configuration);
    start(server, place)
}

/// MariaDB, which refuses to run as root.
pub fn mysql(scratch: &Scratch, user: &str, password: &str) -> RealServer {
    let place = place_of_our_own();
    let data = scratch.path("data");
    let account = if Uid::effective().is_root() { "--user=nobody" } else { "--log-warnings=1" };
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", account]);
    install.arg(format!("--datadir={}", data.display()));
    let made = install.current_dir("/").output().expect("mariadb-install-db");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o755)).expect("chmod");
    let users = format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}';\n");
    fs::write(scratch.path("users.sql"), users).expect("the users");
    let mut server = Command::new("mariadbd");
    server.args(["--no-defaults", "--skip-name-resolve", account]);
    for (name, file) in
        [("datadir", "data"), ("socket", "data/socket"), ("pid-file", "data/pid"), ("init-file", "users.sql")]
    {
        server.arg(format!("--{name}={}", scratch.path(file).display()));
    }
    server.arg(format!("--bind-address={}", place.ip())).arg(format!("--port={}", place.port()));
    start(server, place)
}
