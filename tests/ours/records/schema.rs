//! The keys of `json`, which other programs rely on: the manual, `contrib/pipelines/record.schema.json` and real records
//! agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::ours::records::*;
use crate::support::skip;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/pipelines/record.schema.json");
const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/man/tcpreen.1");

/// Keys with their types, by the name of the event.
type Keys = BTreeMap<String, BTreeMap<String, String>>;

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null | Value::Array(_) | Value::Object(_) => "none of ours",
    }
}

/// Of real objects; a key has one type wherever it occurs.
fn keys_of(objects: &[Value]) -> Keys {
    let mut types: BTreeMap<String, &str> = BTreeMap::new();
    let mut keys = Keys::new();
    for object in objects {
        let event = object["event"].as_str().expect("an event").to_owned();
        let found: BTreeMap<String, String> = object
            .as_object()
            .expect("an object")
            .iter()
            .map(|(key, value)| (key.clone(), type_of(value).to_owned()))
            .collect();
        for (key, kind) in &found {
            let known = types.entry(key.clone()).or_insert_with(|| type_of(&object[key]));
            assert_eq!(kind, known, "{key} in {object}");
        }
        let known = keys.entry(event).or_insert_with(|| found.clone());
        assert_eq!(*known, found, "all keys in every object: {object}");
    }
    keys
}

/// Of the schema: those of all events, and those of each.
fn keys_of_schema() -> Keys {
    let schema: Value = serde_json::from_str(&fs::read_to_string(SCHEMA).expect("a schema")).expect("JSON");
    let types = |object: &Value| -> BTreeMap<String, String> {
        let properties = object["properties"].as_object().expect("properties");
        let required: BTreeSet<&str> =
            object["required"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
        assert_eq!(required, properties.keys().map(String::as_str).collect(), "all of them are there");
        properties
            .iter()
            .map(|(key, value)| (key.clone(), value["type"].as_str().expect("a type").to_owned()))
            .collect()
    };
    let common = types(&schema);
    let mut keys = Keys::new();
    for rule in schema["allOf"].as_array().expect("rules") {
        let events = rule["if"]["properties"]["event"]["enum"].as_array().expect("events");
        let mut own = types(&rule["then"]);
        own.extend(common.clone());
        keys.extend(events.iter().map(|event| (event.as_str().expect("a name").to_owned(), own.clone())));
    }
    assert!(schema["$id"].as_str().is_some_and(|id| id.ends_with(":1")), "version 1");
    keys
}

/// Names of keys in the manual's list, by its heading; `server_` has the keys of `client_`.
fn keys_of_manual() -> BTreeMap<String, BTreeSet<String>> {
    let manual = fs::read_to_string(MANUAL).expect("the manual");
    let (_, section) = manual.split_once("\n.Ss json\n").expect("a section");
    assert!(section.split("\n.Ss ").next().is_some_and(|it| it.contains("this is version 1")));
    let list = section.split(".Bl -tag").nth(1).and_then(|it| it.split("\n.El").next()).expect("a list");
    let mut keys = BTreeMap::new();
    for item in list.split("\n.It ").skip(1) {
        let (heading, text) = item.split_once('\n').expect("a heading");
        let quoted = text.lines().filter_map(|line| line.strip_prefix(".Ql "));
        let words = quoted.flat_map(|line| line.split([' ', ',', ':'])).filter(|word| word.len() > 1);
        let words: BTreeSet<String> = words.filter(|word| !word.ends_with('_')).map(str::to_owned).collect();
        let servers =
            words.iter().filter_map(|word| word.strip_prefix("client_")).map(|it| format!("server_{it}"));
        keys.insert(heading.to_owned(), words.iter().cloned().chain(servers.collect::<Vec<_>>()).collect());
    }
    keys
}

/// Events of all kinds: text and bytes, lengths alone, another file, a worker that dies, a server that is missing.
fn objects_of_all_kinds() -> Vec<Value> {
    let scratch = Scratch::new();
    let logs = scratch.path("logs");
    fs::create_dir(&logs).expect("mkdir");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).expect("chmod");
    let record = logs.join("record");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("json").output(&record).args(["--rotate-size", "60k"]).sessions(1));
    for piece in [&b"text"[..], &[0; 20_000], &[b'x'; 40_000]] {
        client.send(piece);
        server.expect(piece);
    }
    server.finish();
    client.expect_end();
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.finish();
    drop((client, server));
    let refused = scratch.path("refused");
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).format("json").output(&refused).sessions(1).start();
    tcpreen.connect().expect_refusal();
    tcpreen.finish();
    [logs.join("record.1"), record, refused].iter().flat_map(|file| read(file)).collect()
}

#[test]
fn keys_and_types_are_those_of_the_schema_and_of_the_manual() {
    let keys = keys_of(&objects_of_all_kinds());
    let events: Vec<&str> = keys.keys().map(String::as_str).collect();
    assert_eq!(events, ["continue", "data", "end", "eof", "note", "start"]);
    assert_eq!(keys, keys_of_schema());
    let manual = keys_of_manual();
    let common = &manual["all events"];
    for (event, keys) in &keys {
        let heading = manual.keys().find(|heading| heading.split([' ', ',']).any(|word| word == event));
        let own = &manual[heading.unwrap_or_else(|| panic!("no {event} in the manual"))];
        assert_eq!(own | common, keys.keys().cloned().collect::<BTreeSet<String>>(), "{event}");
    }
}

/// Where a JSON Schema validator is at hand.
#[test]
fn a_validator_takes_the_schema_and_the_records() {
    const VALIDATE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
validator = jsonschema.Draft202012Validator(schema)
validator.check_schema(schema)
for line in sys.stdin:
    validator.validate(json.loads(line))
for bad in ({'event': 'data'}, {'event': 'end', 'time': None}, {'event': 'other'}):
    assert not validator.is_valid(bad), bad
";
    if !needs(&[Need::PythonModule("jsonschema")]) {
        return;
    }
    let scratch = Scratch::new();
    let lines: Vec<String> = objects_of_all_kinds().iter().map(Value::to_string).collect();
    fs::write(scratch.path("lines"), lines.join("\n")).expect("lines");
    let mut python = Command::new(skip::PYTHON);
    python.args(["-I", "-c", VALIDATE, SCHEMA]);
    let output =
        python.stdin(fs::File::open(scratch.path("lines")).expect("lines")).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
