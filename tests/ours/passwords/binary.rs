//! Directories, brokers, databases and proxies, and the two text protocols that are not curl's.

use std::process::Command;

use crate::compat::clients;
use crate::ours::passwords::RIGHT;
use crate::ours::passwords::USER;
use crate::ours::passwords::expect_verdicts;
use crate::ours::passwords::servers;
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use servers::python;

#[test]
fn ldap() {
    if !needs(&[Need::Program("slapd"), Need::Program("ldapwhoami")]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::ldap(&scratch, RIGHT);
    expect_verdicts(&server, "LDAP: cn=bob,dc=example:PASSWORD", ["0", "49"], |port, password| {
        let mut client = Command::new("ldapwhoami");
        client.args([
            "-x",
            "-H",
            &format!("ldap://127.0.0.1:{port}"),
            "-D",
            "cn=bob,dc=example",
            "-w",
            password,
        ]);
        client
    });
}

#[test]
fn mqtt() {
    let programs = ["mosquitto", "mosquitto_passwd", "mosquitto_pub"].map(Need::Program);
    if !needs(&programs) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::mqtt(&scratch, USER, RIGHT);
    for (version, refusal) in [("mqttv31", "5"), ("mqttv311", "5"), ("mqttv5", "135")] {
        expect_verdicts(&server, "MQTT: bob:PASSWORD", ["0", refusal], |port, password| {
            let mut client = Command::new("mosquitto_pub");
            client.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", USER, "-P", password]);
            client.args(["-V", version, "-i", "id", "-t", "topic", "-m", "hello"]);
            client
        });
    }
}

/// PostgreSQL with one way of authentication.
fn postgres(scratch: &Scratch, method: &str) -> Option<RealServer> {
    let bin = clients::postgresql().filter(|_| needs(&[Need::Program("psql"), Need::Account]))?;
    let server = clients::postgres(&bin, scratch);
    let admin = |sql: &str| {
        let mut psql = clients::as_nobody(Command::new("psql"));
        let place = server.place();
        psql.args([
            "-h",
            &place.ip().to_string(),
            "-p",
            &place.port().to_string(),
            "-U",
            "tester",
            "-d",
            "postgres",
        ]);
        let status = psql.args(["-X", "-q", "-c", sql]).status().expect("psql");
        assert!(status.success(), "{sql}");
    };
    let encryption = if method == "md5" { "md5" } else { "scram-sha-256" };
    admin(&format!("set password_encryption = '{encryption}'; create role bob login password '{RIGHT}'"));
    let rules = format!("host all bob all {method}\nhost all all all trust\n");
    std::fs::write(scratch.path("data/pg_hba.conf"), rules).expect("the rules");
    admin("select pg_reload_conf()");
    Some(server)
}

#[test]
fn postgresql() {
    for (method, shown) in [
        ("password", "PostgreSQL: bob:PASSWORD"),
        ("md5", "PostgreSQL: bob (MD5)"),
        ("scram-sha-256", "PostgreSQL: bob (SCRAM-SHA-256)"),
    ] {
        let scratch = Scratch::new();
        let Some(server) = postgres(&scratch, method) else { return };
        expect_verdicts(&server, shown, ["", "28P01"], |port, password| {
            let mut psql = Command::new("psql");
            let connection =
                format!("host=127.0.0.1 port={port} user=bob dbname=postgres gssencmode=disable");
            psql.args(["-X", "-w", "-c", "select 1", &connection]).env("PGPASSWORD", password);
            psql
        });
    }
}

#[test]
fn mysql() {
    let programs = ["mariadb-install-db", "mariadbd", "mariadb"].map(Need::Program);
    if !needs(&programs) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::mysql(&scratch, USER, RIGHT);
    expect_verdicts(&server, "MySQL: bob (mysql_native_password)", ["", "1045"], |port, password| {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port.to_string(), "-u", USER]);
        client.args([&format!("-p{password}"), "-e", "select 1"]);
        client
    });
}

#[test]
fn socks() {
    if !needs(&[Need::Program("microsocks"), Need::PythonModule("socket")]) {
        return;
    }
    let server = servers::socks(USER, RIGHT);
    expect_verdicts(&server, "SOCKS5: bob:PASSWORD", ["0", "2"], |port, password| {
        python(SOCKS_CLIENT, &[&port.to_string(), USER, password])
    });
}

const SOCKS_CLIENT: &str = "
import socket, sys
port, user, password = sys.argv[1:]
with socket.create_connection(('127.0.0.1', int(port)), timeout=20) as s:
    s.sendall(b'\\x05\\x02\\x00\\x02')
    s.recv(2, socket.MSG_WAITALL)
    s.sendall(b'\\x01' + bytes([len(user)]) + user.encode() + bytes([len(password)]) + password.encode())
    sys.exit(s.recv(2, socket.MSG_WAITALL)[1])
";

#[test]
fn nats() {
    if !needs(&[Need::Program("nats-server"), Need::PythonModule("socket")]) {
        return;
    }
    let server = servers::nats(USER, RIGHT);
    expect_verdicts(&server, "NATS: bob:PASSWORD", ["PONG", "-ERR"], |port, password| {
        python(NATS_CLIENT, &[&port.to_string(), USER, password])
    });
}

const NATS_CLIENT: &str = "
import json, socket, sys
port, user, password = sys.argv[1:]
with socket.create_connection(('127.0.0.1', int(port)), timeout=20) as s, s.makefile('rb') as answers:
    answers.readline()
    login = {'verbose': False, 'user': user, 'pass': password, 'lang': 'test'}
    s.sendall(b'CONNECT ' + json.dumps(login).encode() + b'\\r\\nPING\\r\\n')
    sys.exit(answers.readline() != b'PONG\\r\\n')
";

#[test]
fn irc() {
    if !needs(&[Need::Program("ngircd"), Need::PythonModule("socket")]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::irc(&scratch, RIGHT);
    expect_verdicts(&server, "IRC: bob:PASSWORD", ["001", "ERROR"], |port, password| {
        python(IRC_CLIENT, &[&port.to_string(), USER, password])
    });
}

const IRC_CLIENT: &str = "
import socket, sys
port, user, password = sys.argv[1:]
with socket.create_connection(('127.0.0.1', int(port)), timeout=20) as s, s.makefile('rb') as answers:
    s.sendall(f'PASS {password}\\r\\nNICK {user}\\r\\nUSER {user} 0 * :{user}\\r\\n'.encode())
    for line in answers:
        if b' 001 ' in line:
            sys.exit(0)
    sys.exit(1)
";

#[test]
fn managesieve() {
    if !needs(&[
        Need::Root,
        Need::Program("dovecot"),
        Need::File("/usr/lib/dovecot/managesieve-login", "dovecot-managesieved"),
        Need::PythonModule("socket"),
    ]) {
        return;
    }
    let scratch = Scratch::new();
    let server = servers::mailbox(&scratch, "sieve", USER, RIGHT);
    expect_verdicts(&server, "ManageSieve: bob:PASSWORD", ["OK", "NO"], |port, password| {
        python(SIEVE_CLIENT, &[&port.to_string(), USER, password])
    });
}

const SIEVE_CLIENT: &str = r#"
import base64, socket, sys
port, user, password = sys.argv[1:]
with socket.create_connection(('127.0.0.1', int(port)), timeout=20) as s, s.makefile('rb') as answers:
    while not answers.readline().startswith(b'OK'):
        pass
    response = base64.b64encode(f'\0{user}\0{password}'.encode()).decode()
    s.sendall(f'AUTHENTICATE "PLAIN" "{response}"\r\n'.encode())
    sys.exit(not answers.readline().startswith(b'OK'))
"#;
