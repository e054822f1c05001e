//! Usage errors that 1.4.4 does not report.

use crate::compat::diagnostics::usage::USAGE;
use crate::compat::diagnostics::usage::misused;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;

#[test]
fn numbers_that_the_original_takes_for_others() {
    let cases = [
        ("-F", "0"),
        ("-F", "-1"),
        ("-F", "10000000000000000000000"),
        ("-m", "-1"),
        ("-b", "-1"),
        ("-F", "0x10"),
    ];
    for (option, number) in cases {
        misused(&[option, number], &format!("{number}: invalid number (or capacity exceeded)."));
    }
}

#[test]
fn ports_out_of_range() {
    // The original counts modulo 65536.
    for port in ["65536", "99999", "0", "", "+80"] {
        let outcome = Tcpreen::to(port).run();
        assert_eq!(outcome.code(), USAGE, "{port}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    }
}

#[test]
fn root_as_the_user_to_become() {
    if !needs(&[Need::Root]) {
        return;
    }
    for name in ["root", "0"] {
        let outcome = Tcpreen::to(80).args(["-u", name]).run();
        assert_eq!(outcome.code(), USAGE, "{outcome:?}");
        assert!(outcome.stderr.contains("user"), "{outcome:?}");
    }
}
