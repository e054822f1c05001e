//! Descriptors that pass over Unix sockets: what a worker finds out about them, and the words for that.

use privsep::sys::FileKind;

/// Maximum number of descriptors of one message, as the kernel has it.
pub const MOST: usize = privsep::sys::MOST_RIGHTS;

/// A kind in one byte.
pub const fn code(kind: FileKind) -> u8 {
    match kind {
        FileKind::Anonymous => 0,
        FileKind::Socket => 1,
        FileKind::Regular => 2,
        FileKind::Memory => 3,
        FileKind::Directory => 4,
        FileKind::Pipe => 5,
        FileKind::Device => 6,
    }
}

/// The word for a kind; `None` for a code that there is not.
pub fn word(code: u8) -> Option<&'static str> {
    ["anonymous", "socket", "file", "memfd", "directory", "pipe", "device"].get(usize::from(code)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let kinds = [
            (FileKind::Anonymous, "anonymous"),
            (FileKind::Socket, "socket"),
            (FileKind::Regular, "file"),
            (FileKind::Memory, "memfd"),
            (FileKind::Directory, "directory"),
            (FileKind::Pipe, "pipe"),
            (FileKind::Device, "device"),
        ];
        for (kind, expected) in kinds {
            assert_eq!(word(code(kind)), Some(expected));
        }
        assert_eq!(word(7), None);
    }
}
