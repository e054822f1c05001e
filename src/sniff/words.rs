//! Splits command lines into words.

/// The first word and the rest, without the blanks around the word.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

/// The rest after the first word and one blank, other blanks included.
pub(super) fn argument(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    line.get(end + 1..).unwrap_or_default()
}

/// All the words.
pub(super) fn words(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (first, rest) = word(line);
        line = rest;
        (!first.is_empty()).then_some(first)
    })
}

/// The rest after `prefix`, in upper or lower case.
pub(super) fn after<'a>(prefix: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A number in decimal and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None; // from_str would let a sign pass
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// The value of `name="…"` among the parameters of a digest scheme. Quoted text may hold commas, and quotes behind
/// a backslash.
pub(super) fn parameter(name: &[u8], mut text: &[u8]) -> Option<Vec<u8>> {
    while !text.is_empty() {
        let equals = text.iter().position(|&byte| byte == b'=')?;
        let found = text[..equals].rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
        let (value, rest) = value(text[equals + 1..].trim_ascii_start())?;
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        text = rest.trim_ascii_start().strip_prefix(b",").unwrap_or_default();
    }
    None
}

/// A value, quoted or not, and what follows.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        return unquote(quoted);
    }
    let end = text.iter().position(|&byte| byte == b',').unwrap_or(text.len());
    Some((text[..end].trim_ascii_end().to_vec(), &text[end..]))
}

/// The text up to the closing quote, in which a backslash stands before a quote or a backslash, and what follows.
pub(super) fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return Some((text, bytes.as_slice())),
            b'\\' => text.push(*bytes.next()?),
            &byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fall_into_words() {
        assert_eq!(word(b"  PASS  a b "), (&b"PASS"[..], &b"a b "[..]));
        assert_eq!(words(b" a  b\tc ").collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(words(b"  ").count(), 0);
    }

    #[test]
    fn numbers_are_only_digits() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "+1", "-1", "1 ", "18446744073709551616"] {
            assert_eq!(number(text.as_bytes()), None);
        }
    }

    #[test]
    fn arguments_keep_their_blanks() {
        assert_eq!(argument(b"PASS  lead "), b" lead ");
        assert_eq!(argument(b"PASS"), b"");
        assert_eq!(argument(b"PASS "), b"");
    }

    #[test]
    fn parameters_may_be_quoted() {
        let username = |text: &str| {
            parameter(b"username", text.as_bytes()).map(|value| String::from_utf8(value).unwrap())
        };
        let is = |text: &str, value: &str| assert_eq!(username(text).as_deref(), Some(value), "{text}");
        is("realm=\"a\", Username=\"bob\"", "bob");
        is("username=bob", "bob");
        is("realm=\"x, username=y\", username=\"bo,b\"", "bo,b");
        is("username = \"bob\" , realm=a", "bob");
        is("a=b,username=\"b\\\"o\"", "b\"o");
        assert_eq!(username("usernames=\"bob\""), None);
        assert_eq!(username("username=\"bob"), None);
        assert_eq!(username("username"), None);
    }
}
