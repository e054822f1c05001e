//! Checks whether `/etc/nsswitch.conf` configures a module that connects to a daemon.

use std::fs;

/// Databases used for hosts and services.
const DATABASES: [&str; 2] = ["hosts", "services"];

/// Modules that connect to no daemon. `mymachines` does, but over the system bus, whose other services are
/// worth more than the names of containers.
const WITHOUT_DAEMON: [&str; 8] =
    ["files", "dns", "db", "compat", "hesiod", "nis", "myhostname", "mymachines"];

/// Checks whether a lookup on this system may connect to a daemon.
pub fn asks_a_daemon() -> bool {
    fs::read_to_string("/etc/nsswitch.conf").is_ok_and(|configuration| names_a_daemon(&configuration))
}

fn names_a_daemon(configuration: &str) -> bool {
    let lines = configuration.lines().filter_map(|line| line.split('#').next()?.split_once(':'));
    let ours = lines.filter(|(database, _)| DATABASES.contains(&database.trim()));
    ours.flat_map(|(_, modules)| without_actions(modules)).any(|module| !WITHOUT_DAEMON.contains(&module))
}

/// Returns the modules of a line without actions such as `[NOTFOUND=return]`.
fn without_actions(modules: &str) -> impl Iterator<Item = &str> {
    let outside = modules.split('[').map(|part| part.rsplit(']').next().unwrap_or_default());
    outside.flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::names_a_daemon;

    #[test]
    fn modules_of_daemons_are_recognised() {
        for (line, expected) in [
            ("hosts: files dns", false),
            ("hosts:files myhostname dns # mdns", false),
            ("hosts: mymachines [!UNAVAIL=return] files dns", false),
            ("passwd: files sss\nhosts: files dns", false),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", true),
            ("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns", true),
            ("hosts: files dns\nservices: files sss", true),
            (" hosts : files [ NOTFOUND = return ] unheard_of", true),
            ("", false),
        ] {
            assert_eq!(names_a_daemon(line), expected, "{line}");
        }
    }
}
