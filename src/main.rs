//! The `tcpreen` program; see the library.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tcpreen::run()
}
