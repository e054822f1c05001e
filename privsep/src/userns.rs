//! The user namespace of this process, as `/proc/self` shows it (user_namespaces(7)).

use std::fs;

/// Ids of this namespace, mapped to ids of the namespace around it.
pub struct IdMap(Vec<Range>);

struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    pub fn of_users() -> IdMap {
        IdMap::read("/proc/self/uid_map")
    }

    pub fn of_groups() -> IdMap {
        IdMap::read("/proc/self/gid_map")
    }

    /// A kernel without user namespaces lacks the file and has every id.
    fn read(path: &str) -> IdMap {
        let everybody = || IdMap(vec![Range { inside: 0, outside: 0, count: u32::MAX }]);
        fs::read_to_string(path).map_or_else(|_| everybody(), |text| IdMap::parse(&text))
    }

    fn parse(text: &str) -> IdMap {
        let range = |line: &str| {
            let numbers: Vec<u32> =
                line.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
            let [inside, outside, count] = numbers[..] else { return None };
            Some(Range { inside, outside, count })
        };
        IdMap(text.lines().filter_map(range).collect())
    }

    /// Checks whether a process of this namespace can have this id.
    pub fn has(&self, id: u32) -> bool {
        self.0.iter().any(|range| id >= range.inside && id - range.inside < range.count)
    }

    /// Returns the outer id of uid 0 if it is the only id here: root then cannot change to another user.
    pub fn only_root(&self) -> Option<u32> {
        match self.0.as_slice() {
            [Range { inside: 0, outside, count: 1 }] => Some(*outside),
            _ => None,
        }
    }
}

/// Restrictions of this namespace.
#[derive(Clone, Copy, Debug)]
pub struct Namespace {
    /// uid 0 here is an ordinary user outside, and the only user: `unshare --map-root-user`, bubblewrap.
    /// False if it is root outside, too.
    pub is_alone: bool,
    /// setgroups is denied, regardless of capabilities.
    pub denies_setgroups: bool,
}

impl Namespace {
    pub fn find() -> Namespace {
        let denied = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim_end() == "deny");
        Namespace {
            is_alone: IdMap::of_users().only_root().is_some_and(|outside| outside != 0),
            denies_setgroups: denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::IdMap;

    #[test]
    fn a_map_with_a_single_id_is_recognised() {
        let only_root = |text: &str| IdMap::parse(text).only_root();
        assert_eq!(only_root("         0       1000          1\n"), Some(1000));
        assert_eq!(only_root("0 0 1\n"), Some(0));
        assert_eq!(only_root("0 0 4294967295\n"), None);
        assert_eq!(only_root("1000 1000 1\n"), None);
        assert_eq!(only_root("0 1000 1\n1 100000 65536\n"), None);
        assert_eq!(only_root(""), None);
    }

    #[test]
    fn ids_are_found_in_every_range() {
        let map = IdMap::parse("0 1000 1\n1 100000 65533\n");
        assert!(map.has(0) && map.has(1) && map.has(65533));
        assert!(!map.has(65534) && !map.has(u32::MAX));
        assert!(IdMap::parse("0 0 4294967295").has(65534));
    }
}
