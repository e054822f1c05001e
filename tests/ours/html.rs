//! `html`: a page in a browser, of peers that try to become part of it.

use std::process::Command;

use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::{Bridged, bridge};

/// Each would change the title if anything of it worked.
const HOSTILE: [&str; 4] = [
    "</script><script>document.title='owned'</script>",
    "</style></title></textarea>--><img src=x onerror=\"document.title='owned'\"><!--",
    "\"' onmouseover='document.title=1' autofocus onfocus=\"document.title='owned'\" x='",
    "\0<svg/onload=document.title='owned'>\u{202e}]]>&lt;script&gt;",
];

#[test]
fn what_peers_send_is_inert_in_a_browser() {
    if !needs(&[Need::Program("chromium")]) {
        return;
    }
    let scratch = Scratch::new();
    let page = scratch.path("page.html");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.args(["-q"]).format("html").output(&page).sessions(1));
    for payload in HOSTILE {
        client.send(payload);
        server.expect(payload);
        server.send(payload);
        client.expect(payload);
    }
    drop((client, server));
    tcpreen.finish();
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", scratch.path("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium");
    let dom = String::from_utf8(browser.stdout).expect("UTF-8");
    assert!(dom.contains("<title>tcpreen: sessions</title>"), "{dom}");
    assert!(dom.contains("id=\"app\""), "the page's own script has run: {dom}");
    for element in ["<svg", "<img", "<textarea"] {
        assert!(!dom.contains(element), "{element}: {dom}");
    }
    assert_eq!(dom.matches("<script>").count(), 1, "{dom}");
}
