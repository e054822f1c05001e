//! The figures, and their text in the OpenMetrics format 1.0
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>).

use std::collections::HashMap;
use std::fmt::{self, Write};

use crate::logger::output::report::Health;
use crate::messages::Side;
use crate::record::{End, Event, Kind, Meeting, State, Time};

/// Upper bounds of the histograms in seconds: those that Prometheus proposes for network services, and three for a
/// server on the same machine.
const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const SIDES: [Side; 2] = [Side::Client, Side::Server];

pub(super) struct Figures {
    started: Time,
    open: HashMap<u64, MeteredSession>,
    ended: [u64; State::ALL.len()],
    /// Bytes from clients, bytes from servers.
    bytes: [u64; 2],
    dial: Histogram,
    first_byte: Histogram,
}

/// A session in progress.
struct MeteredSession {
    started: Time,
    bytes: [u64; 2],
}

#[derive(Default)]
struct Histogram {
    /// Values up to each bound that are above the bound before it, and values above all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            started: Time::now(),
            open: HashMap::new(),
            ended: [0; State::ALL.len()],
            bytes: [0; 2],
            dial: Histogram::default(),
            first_byte: Histogram::default(),
        }
    }
}

impl Figures {
    pub(super) fn add(&mut self, event: &Event) {
        match &event.kind {
            Kind::Start(info) => {
                if info.meeting == Meeting::Both {
                    self.dial.add(info.started.since(info.accepted));
                }
                self.open.insert(event.session, MeteredSession { started: info.started, bytes: [0; 2] });
            }
            Kind::Data { from, bytes, .. } => {
                let Some(open) = self.open.get_mut(&event.session) else { return };
                let passed = &mut open.bytes[*from as usize];
                if *from == Side::Server && *passed == 0 {
                    self.first_byte.add(event.time.since(open.started));
                }
                *passed = passed.saturating_add(*bytes);
            }
            Kind::End(end) => self.end(event.session, end),
            Kind::Eof { .. } | Kind::Secrets | Kind::Note(_) => {}
        }
    }

    fn end(&mut self, session: u64, end: &End) {
        self.open.remove(&session);
        if let Some(place) = State::ALL.iter().position(|state| *state == end.state) {
            self.ended[place] += 1;
        }
        for (sum, total) in self.bytes.iter_mut().zip(end.totals) {
            *sum = sum.saturating_add(total);
        }
    }

    pub(super) fn text(&self, health: &Health) -> String {
        let mut text = String::with_capacity(4096);
        // Writing to a string does not fail.
        let _ = self.write(health, &mut text);
        text
    }

    fn write(&self, health: &Health, out: &mut String) -> fmt::Result {
        family(out, "build", "gauge", "", "The program that wrote these figures.")?;
        writeln!(out, "tcpreen_build{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
        family(out, "start_time_seconds", "gauge", "seconds", "Start of this run, since 1970-01-01.")?;
        writeln!(out, "tcpreen_start_time_seconds {}", seconds(self.started.nanos()))?;
        family(out, "sessions_open", "gauge", "", "Sessions in progress.")?;
        writeln!(out, "tcpreen_sessions_open {}", self.open.len())?;
        family(out, "sessions", "counter", "", "Sessions that have ended, by the reason of their end.")?;
        for (state, ended) in State::ALL.into_iter().zip(self.ended) {
            writeln!(out, "tcpreen_sessions_total{{state=\"{}\"}} {ended}", state.name())?;
        }
        family(out, "payload_bytes", "counter", "bytes", "Bytes received, by the side that sent them.")?;
        for (side, name) in SIDES.into_iter().zip(["client", "server"]) {
            writeln!(out, "tcpreen_payload_bytes_total{{from=\"{name}\"}} {}", self.passed(side))?;
        }
        family(out, "dial_seconds", "histogram", "seconds", "Time from one peer's arrival to the other's.")?;
        self.dial.write("dial_seconds", out)?;
        let help = "Time from the start of a session to the first byte of its server.";
        family(out, "first_byte_seconds", "histogram", "seconds", help)?;
        self.first_byte.write("first_byte_seconds", out)?;
        let help = "Batches of the record that an output has not taken yet, of all outputs.";
        family(out, "record_batches_pending", "gauge", "", help)?;
        writeln!(out, "tcpreen_record_batches_pending {}", health.pending())?;
        family(out, "output_failures", "counter", "", "Outputs that can no longer be written.")?;
        writeln!(out, "tcpreen_output_failures_total {}", health.lost())?;
        out.write_str("# EOF\n")
    }

    /// Bytes from one side in all sessions, those in progress included.
    fn passed(&self, side: Side) -> u64 {
        let side = side as usize;
        self.open.values().fold(self.bytes[side], |sum, open| sum.saturating_add(open.bytes[side]))
    }
}

impl Histogram {
    fn add(&mut self, nanos: u64) {
        let value = nanos as f64 / 1e9;
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }

    fn write(&self, name: &str, out: &mut String) -> fmt::Result {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            count += bucket;
            // `{:?}` writes whole numbers with a point, as the format requires.
            writeln!(out, "tcpreen_{name}_bucket{{le=\"{bound:?}\"}} {count}")?;
        }
        count += self.buckets[BOUNDS.len()];
        writeln!(out, "tcpreen_{name}_bucket{{le=\"+Inf\"}} {count}")?;
        writeln!(out, "tcpreen_{name}_count {count}")?;
        writeln!(out, "tcpreen_{name}_sum {}", seconds(self.nanos))
    }
}

fn family(out: &mut String, name: &str, kind: &str, unit: &str, help: &str) -> fmt::Result {
    writeln!(out, "# TYPE tcpreen_{name} {kind}")?;
    if !unit.is_empty() {
        writeln!(out, "# UNIT tcpreen_{name} {unit}")?;
    }
    writeln!(out, "# HELP tcpreen_{name} {help}")
}

/// Formats nanoseconds as seconds, exactly.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logger::intake::session::tests::info;
    use crate::record::{ConnState, SessionInfo};

    const SECOND: u64 = 1_000_000_000;

    fn event(session: u64, nanos: u64, kind: Kind) -> Event {
        Event { time: Time::from_nanos(nanos), session, kind }
    }

    fn start(session: u64, dial: u64) -> Event {
        let (accepted, started) = (Time::from_nanos(SECOND), Time::from_nanos(SECOND + dial));
        let info = SessionInfo { number: session, accepted, started, ..info() };
        event(session, SECOND + dial, Kind::Start(Arc::new(info)))
    }

    fn data(session: u64, nanos: u64, from: Side, bytes: u64) -> Event {
        event(session, nanos, Kind::Data { from, position: 0, bytes, urgent: false })
    }

    fn lines(figures: &Figures) -> Vec<String> {
        figures.text(&Health::default()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn figures_of_a_session_in_progress_and_of_an_ended_one() {
        let mut figures = Figures::default();
        figures.add(&start(1, 2_000_000));
        figures.add(&start(2, 0));
        figures.add(&data(1, SECOND + 3_000_000, Side::Client, 10));
        figures.add(&data(1, SECOND + 5_000_000, Side::Server, 100));
        figures.add(&data(1, 9 * SECOND, Side::Server, 100));
        figures.add(&data(2, 2 * SECOND, Side::Client, 5));
        let end = End {
            state: State::ServerReset,
            conn_state: ConnState::Rstr,
            errno: 0,
            totals: [10, 200],
            tcp: Default::default(),
        };
        figures.add(&event(1, 9 * SECOND, Kind::End(end)));
        let lines = lines(&figures);
        for line in [
            "tcpreen_sessions_open 1",
            "tcpreen_sessions_total{state=\"server_reset\"} 1",
            "tcpreen_sessions_total{state=\"done\"} 0",
            "tcpreen_payload_bytes_total{from=\"client\"} 15",
            "tcpreen_payload_bytes_total{from=\"server\"} 200",
            "tcpreen_dial_seconds_bucket{le=\"0.001\"} 1",
            "tcpreen_dial_seconds_bucket{le=\"0.0025\"} 2",
            "tcpreen_dial_seconds_sum 0.002000000",
            "tcpreen_first_byte_seconds_bucket{le=\"0.0025\"} 0",
            "tcpreen_first_byte_seconds_bucket{le=\"0.005\"} 1",
            "tcpreen_first_byte_seconds_count 1",
            "tcpreen_first_byte_seconds_sum 0.003000000",
        ] {
            assert!(lines.iter().any(|have| have == line), "{line} in {lines:#?}");
        }
        assert_eq!(lines.last().map(String::as_str), Some("# EOF"));
    }

    #[test]
    fn a_session_without_a_server_has_no_dialling_time() {
        let mut figures = Figures::default();
        let info = SessionInfo { meeting: Meeting::Refused, ..info() };
        figures.add(&event(1, SECOND, Kind::Start(Arc::new(info))));
        let end = End {
            state: State::Refused,
            conn_state: ConnState::Rej,
            errno: 111,
            totals: [0, 0],
            tcp: Default::default(),
        };
        figures.add(&event(1, SECOND, Kind::End(end)));
        let lines = lines(&figures);
        assert!(lines.contains(&"tcpreen_sessions_total{state=\"refused\"} 1".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"tcpreen_dial_seconds_count 0".to_owned()), "{lines:#?}");
    }

    #[test]
    fn values_above_all_bounds_are_in_the_last_bucket() {
        let mut histogram = Histogram::default();
        histogram.add(10 * SECOND);
        histogram.add(11 * SECOND);
        let mut text = String::new();
        histogram.write("x", &mut text).expect("a string");
        assert!(text.contains("tcpreen_x_bucket{le=\"10.0\"} 1\n"), "{text}");
        assert!(text.ends_with("{le=\"+Inf\"} 2\ntcpreen_x_count 2\ntcpreen_x_sum 21.000000000\n"), "{text}");
    }
}
