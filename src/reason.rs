//! Errors of the system in the system's words: people grep for them, and nix words some differently.

use std::io;

/// What `strerror(3)` says.
pub(crate) fn reason(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_words_are_those_of_the_c_library() {
        assert_eq!(super::reason(nix::libc::EAGAIN), "Resource temporarily unavailable");
        assert_eq!(super::reason(nix::libc::ECONNREFUSED), "Connection refused");
    }
}
