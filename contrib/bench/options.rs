//! Arguments of `cargo bench --bench peers --`.

use crate::Result;

const USAGE: &str = "usage: cargo bench --bench peers -- [--quick] [--rounds N] [--only NAME]...";

pub(crate) struct Options {
    /// Measured rounds; one more is run before them and discarded.
    pub(crate) rounds: usize,
    /// A quick check instead of a measurement: few rounds, an eighth of the work.
    pub(crate) quick: bool,
    only: Vec<String>,
}

impl Options {
    /// `None` if there is nothing to do: cargo passes `--bench` for benchmarks, and omits it when `cargo test
    /// --all-targets` only checks that they start.
    pub(crate) fn from_args(args: impl Iterator<Item = String>, names: &[&str]) -> Result<Option<Self>> {
        let mut args = args;
        let (mut bench, mut quick, mut rounds, mut only) = (false, false, None, Vec::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => bench = true,
                "--quick" => quick = true,
                "--rounds" => rounds = Some(args.next().ok_or(USAGE)?.parse()?),
                "--only" => {
                    let name = args.next().ok_or(USAGE)?;
                    if !names.contains(&name.as_str()) {
                        return Err(format!("{name}: unknown; there are {}", names.join(", ")).into());
                    }
                    only.push(name);
                }
                // Meant for libtest, like all arguments of `cargo test`.
                _ if !bench => {}
                _ => return Err(format!("{arg}: unknown\n{USAGE}").into()),
            }
        }
        if !bench {
            eprintln!("nothing measured without --bench, as `cargo bench` passes it");
            return Ok(None);
        }
        let rounds = rounds.unwrap_or(if quick { 2 } else { 5 });
        if rounds == 0 {
            return Err("--rounds: at least one".into());
        }
        Ok(Some(Self { rounds, quick, only }))
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The full amount of work, or an eighth of it.
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        if self.quick { full / 8 } else { full }
    }
}
