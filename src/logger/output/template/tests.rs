use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::logger::output::template::*;
use crate::record::civil::{LAST_SECOND, civil};

fn values() -> TemplateValues {
    let client = Address::V4 { host: Ipv4Addr::new(192, 0, 2, 7), port: 33116 };
    TemplateValues { number: 12, client, started: 1_769_903_999 }
}

fn template(typed: &[u8]) -> Template {
    match OutputName::parse(typed) {
        Ok(OutputName::Template(template)) => template,
        other => panic!("no template: {other:?}"),
    }
}

fn expanded(typed: &str, values: &TemplateValues) -> String {
    String::from_utf8(template(typed.as_bytes()).expand(values, Side::Client)).unwrap()
}

#[test]
fn every_field_says_what_it_should() {
    assert_eq!(expanded("%n,%a,%p,%t,%d,%%", &values()), "12,192.0.2.7,33116,20260131T235959Z,client,%");
    let server = template(b"%d").expand(&values(), Side::Server);
    assert_eq!(server, b"server");
}

#[test]
fn a_name_without_fields_is_one_file() {
    assert_eq!(OutputName::parse(b"/a/b%%n"), Ok(OutputName::Plain(b"/a/b%n".to_vec())));
    assert_eq!(OutputName::parse(b""), Ok(OutputName::Plain(Vec::new())));
}

#[test]
fn the_directory_is_everything_up_to_the_last_slash() {
    for (typed, directory, name) in
        [("%n", ".", "12"), ("/%n", "/", "12"), ("a%%/../b/c-%n", "a%/../b/", "c-12"), ("./%nx", "./", "12x")]
    {
        assert_eq!(template(typed.as_bytes()).directory(), directory.as_bytes());
        assert_eq!(expanded(typed, &values()), name);
    }
}

#[test]
fn mistakes_are_named() {
    for (typed, mistake) in [
        ("a%x", TemplateError::Unknown(b'x')),
        ("%N", TemplateError::Unknown(b'N')),
        ("% n", TemplateError::Unknown(b' ')),
        ("%/n", TemplateError::Unknown(b'/')),
        ("a%", TemplateError::Unfinished),
        ("%%%", TemplateError::Unfinished),
        ("%n/a", TemplateError::Directory),
        ("a/%n/%n", TemplateError::Directory),
        ("%n/", TemplateError::Directory),
    ] {
        assert_eq!(OutputName::parse(typed.as_bytes()), Err(mistake), "{typed}");
    }
    let text = TemplateError::Unknown(0x1b).to_string();
    assert!(text.starts_with("%\\x1b means nothing; "), "{text}");
    for allowed in ["%n ", "%a ", "%p ", "%t ", "%d ", "%% "] {
        assert!(text.contains(allowed), "{allowed} in {text}");
    }
}

#[test]
fn peers_of_every_kind_have_a_name() {
    let name = |client| expanded("%a_%p", &TemplateValues { client, ..values() });
    let v6 = |scope| Address::V6 { host: "fe80::1".parse().unwrap(), port: 1, scope };
    assert_eq!(name(v6(0)), "fe80::1_1");
    assert_eq!(name(v6(3)), "fe80::1%3_1");
    assert_eq!(name(Address::Unix(Vec::new())), "unix_0");
    assert_eq!(name(Address::Unix(b"/../etc/\x1b[m".to_vec())), "unix_0");
}

#[test]
fn names_that_might_not_fit_are_known_at_once() {
    assert!(!template(b"%n-%a-%p-%t-%d").is_too_long());
    assert!(!template(format!("{}%t", "x".repeat(200)).as_bytes()).is_too_long());
    assert!(template(format!("{}%t", "x".repeat(202)).as_bytes()).is_too_long());
}

/// Values from `date -u -d @N +%Y%m%dT%H%M%SZ`.
#[test]
fn time_is_utc() {
    for (seconds, text) in [
        (0, "19700101T000000Z"),
        (951_782_399, "20000228T235959Z"),
        (951_782_400, "20000229T000000Z"),
        (951_868_800, "20000301T000000Z"),
        (1_709_164_800, "20240229T000000Z"),
        (1_735_689_599, "20241231T235959Z"),
        (4_107_542_399, "21000228T235959Z"),
        (4_107_542_400, "21000301T000000Z"),
        (LAST_SECOND, "99991231T235959Z"),
        (u64::MAX, "99991231T235959Z"),
    ] {
        assert_eq!(utc(seconds), text, "{seconds}");
    }
}

#[test]
fn every_day_follows_the_one_before() {
    let mut yesterday = civil(0);
    for days in 1..200_000 {
        let today = civil(days);
        let (year, month, day) = yesterday;
        let follows = [(year, month, day + 1), (year, month + 1, 1), (year + 1, 1, 1)];
        assert!(follows.contains(&today), "{yesterday:?} {today:?}");
        assert!(today > yesterday && (1..=12).contains(&today.1) && (1..=31).contains(&today.2));
        yesterday = today;
    }
}

fn addresses() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(host, port)| Address::V4 { host: Ipv4Addr::from(host), port }),
        any::<([u8; 16], u16, u32)>().prop_map(|(host, port, scope)| Address::V6 {
            host: Ipv6Addr::from(host),
            port,
            scope
        }),
        prop::collection::vec(any::<u8>(), 0..108).prop_map(Address::Unix),
    ]
}

prop_compose! {
    fn any_facts()(number: u64, client in addresses(), started: u64) -> TemplateValues {
        TemplateValues { number, client, started }
    }
}

/// Names that an operator may type, with at least one field.
const TYPED: &str = "([-_.a-z]|%[napd%t]){0,8}%[napdt]([-_.a-z]|%[napdt%]){0,8}";

proptest! {
    #[test]
    fn nothing_that_is_typed_makes_us_panic(typed in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(OutputName::Template(template)) = OutputName::parse(&typed) {
            prop_assert!(!template.expand(&values(), Side::Client).contains(&b'/'));
        }
    }

    #[test]
    fn names_are_names(typed in TYPED, values in any_facts()) {
        let template = template(typed.as_bytes());
        for side in [Side::Client, Side::Server] {
            let name = template.expand(&values, side);
            prop_assert!(name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/'));
            prop_assert!(!matches!(name.as_slice(), b"" | b"." | b".."));
            let whole = name.len() + last_resort(&values).len();
            prop_assert!(whole <= LONGEST || template.is_too_long());
        }
    }

    #[test]
    fn sessions_with_different_numbers_have_different_names(
        a in any_facts(), b in any_facts(), before in "[a-z]{0,4}", behind in "(-[a-z]{0,4}(%[apt%])?){0,2}",
    ) {
        prop_assume!(a.number != b.number);
        let template = template(format!("{before}%n{behind}").as_bytes());
        prop_assume!(behind.is_empty() || behind.starts_with('-'));
        prop_assert_ne!(template.expand(&a, Side::Client), template.expand(&b, Side::Client));
    }

    #[test]
    fn peers_with_different_addresses_have_different_names(a in any_facts(), b in any_facts()) {
        let template = template(b"%a-%p");
        let same = a.client == b.client || [&a, &b].iter().all(|it| it.client.ip().is_none());
        prop_assert_eq!(template.expand(&a, Side::Client) == template.expand(&b, Side::Client), same);
    }

    #[test]
    fn directions_have_different_names(values in any_facts(), before in TYPED) {
        let template = template(format!("{before}%d").as_bytes());
        prop_assert!(template.is_one_way());
        prop_assert_ne!(template.expand(&values, Side::Client), template.expand(&values, Side::Server));
    }
}
