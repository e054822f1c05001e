//! Everything that the parent hears, out of order, cut short and made up: see `inside/parent.rs`.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the program's own modules, of which only a part is used here")]

#[path = "../../../src/cli/mod.rs"]
mod cli;
#[path = "../../../src/config.rs"]
mod config;
#[path = "../../../src/exit.rs"]
mod exit;
#[path = "../../../src/format.rs"]
mod format;
#[path = "../../../src/logger/mod.rs"]
mod logger;
#[path = "../../../src/messages.rs"]
mod messages;
#[path = "../../../src/nsswitch.rs"]
mod nsswitch;
#[path = "../../../src/parent/mod.rs"]
mod parent;
#[path = "../../../src/policy.rs"]
mod policy;
#[path = "../../../src/reason.rs"]
mod reason;
#[path = "../../../src/record/mod.rs"]
mod record;
#[path = "../../../src/role.rs"]
mod role;
#[path = "../inside/script.rs"]
mod script;
#[path = "../../../src/signals.rs"]
mod signals;
#[path = "../../../src/sniff/mod.rs"]
mod sniff;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use cli::{Action, Circumstances};
use config::Config;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let arguments = ["tcpreen", "-n", "-F", "4", "-p", "unix/unix", "@server", "@client"];
    let circumstances = Circumstances {
        may_select_user: false,
        stdout_is_a_peers: false,
        stderr_is_a_peers: false,
        has_sockets: false,
        is_secure: false,
    };
    match cli::parse(arguments.map(Into::into).to_vec(), circumstances) {
        Ok(Action::Run(config)) => *config,
        _ => panic!("a command line"),
    }
});

fuzz_target!(|data: &[u8]| parent::fuzz::fuzz(data, &CONFIG));
