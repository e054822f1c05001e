//! Cutting lines of commands into words.

/// The first word and the rest, without the blanks around the word.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

/// All the words.
pub(super) fn words(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (first, rest) = word(line);
        line = rest;
        (!first.is_empty()).then_some(first)
    })
}

/// What follows `prefix`, which may be written in capitals or not.
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

/// The value of `name="…"` among the parameters of a digest scheme.
pub(super) fn parameter<'a>(name: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    let parameters = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let value = parameters.filter_map(|parameter| after(name, parameter)?.strip_prefix(b"=")).next()?;
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
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
    fn parameters_may_be_quoted() {
        assert_eq!(parameter(b"username", b"realm=\"a\", Username=\"bob\""), Some(&b"bob"[..]));
        assert_eq!(parameter(b"username", b"username=bob"), Some(&b"bob"[..]));
        assert_eq!(parameter(b"username", b"usernames=\"bob\""), None);
    }
}
