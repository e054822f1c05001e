//! Checks that the Debian package is complete; contrib/deb/check tests its use.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::skip::{Need, PYTHON, needs};

type Names = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Crates that the program is linked with.
fn linked_crates() -> Names {
    let tree = "tree --locked --offline --edges normal,no-proc-macro --prefix none --format {p}";
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo.args(tree.split(' ')).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    // Our own crates are followed by a path.
    let strangers = tree.lines().filter(|line| !line.contains('/'));
    strangers.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_copyright_file_names_every_crate_that_is_linked_and_no_others() {
    let copyright = read("contrib/deb/copyright");
    let named = copyright.split(['\n', ' ']).filter_map(|word| word.strip_prefix("vendor/"));
    let named: Names = named.map(|crate_| crate_.trim_end_matches("/*").to_owned()).collect();
    let linked = linked_crates();
    assert!(linked.contains("nix"), "{linked:?}");
    assert_eq!(
        named, linked,
        "left: contrib/deb/copyright, to which a stanza is added; right: what is linked"
    );
}

/// `contrib/release/sbom` lists what is linked, with the versions and checksums of Cargo.lock.
#[test]
fn the_bill_of_materials_has_every_crate_that_is_linked_as_the_lock_file_has_it() {
    if !needs(&[Need::File(PYTHON, "python3")]) {
        return;
    }
    let mut script = Command::new(PYTHON);
    let output = script.arg(root().join("contrib/release/sbom")).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    assert_eq!(text(&bill["metadata"]["component"]["version"]), env!("CARGO_PKG_VERSION"));
    let lock = read("Cargo.lock");
    let mut listed = Names::new();
    for component in bill["components"].as_array().expect("a list") {
        let [name, version] = ["name", "version"].map(|key| text(&component[key]));
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let entry = lock.split("[[package]]\n").find(|found| found.starts_with(&entry));
        let entry = entry.unwrap_or_else(|| panic!("{name} {version} is not in Cargo.lock"));
        assert!(!text(&component["licenses"][0]["expression"]).is_empty(), "{name}");
        // Ours has no checksum.
        if name != "privsep" {
            let checksum = text(&component["hashes"][0]["content"]);
            assert!(entry.contains(&format!("checksum = \"{checksum}\"")), "{name}: {checksum}");
            listed.insert(name);
        }
    }
    assert_eq!(listed, linked_crates(), "left: listed; right: linked");
}

#[test]
fn the_package_has_everything_in_contrib_that_is_not_for_developers() {
    const FOR_DEVELOPERS: [&str; 6] = ["bench", "deb", "fuzz", "picture", "release", "style"];
    let manifest = read("Cargo.toml");
    for folder in fs::read_dir(root().join("contrib")).expect("a folder") {
        let folder = folder.expect("an entry").file_name().into_string().expect("UTF-8");
        if FOR_DEVELOPERS.contains(&folder.as_str()) {
            continue;
        }
        for file in fs::read_dir(root().join("contrib").join(&folder)).expect("a folder") {
            let file = file.expect("an entry").file_name().into_string().expect("UTF-8");
            let found_by_name =
                folder == "systemd" && ["tcpreen.", "tcpreen@."].iter().any(|it| file.starts_with(it));
            let named = [format!("\"contrib/{folder}/{file}\""), format!("\"contrib/{folder}/*\"")];
            let is_named = named.iter().any(|name| manifest.contains(name));
            assert!(found_by_name || is_named, "[package.metadata.deb] in Cargo.toml lacks {}", named[0]);
        }
    }
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let changelog = read("contrib/deb/changelog");
    let start = format!("tcpreen ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&start), "contrib/deb/changelog does not start with {start:?}");
}
