//! Two columns: what changed on disk, and what arrived in the bucket.
//!
//! # Invariants
//!
//! - A line is written whole or not at all, whichever thread writes it.
//! - Colours and escapes are for terminals only; a file name never brings its own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How wide a column is.
const WIDTH: usize = 40;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// The output of the story. Shared by threads.
#[derive(Debug)]
pub(crate) struct Screen {
    is_colourful: bool,
    began: Instant,
    /// When the file behind a key was changed last.
    touched: Mutex<BTreeMap<String, Instant>>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    New,
    Replaced,
    Deleted,
}

impl Screen {
    pub(crate) fn new(is_terminal: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "https://no-color.org, and there is no `config` here"
        )]
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_colourful: is_terminal && !is_unwanted,
            began: file_sync_dev_s3::now(),
            touched: Mutex::default(),
        }
    }

    fn touched(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of a change from which the lag of `key` is counted.
    pub(crate) fn touch(&self, key: String, at: Instant) {
        self.touched().insert(key, at);
    }

    /// A heading, and below it what to look for.
    pub(crate) fn chapter(&self, title: &str) {
        print(&format!("\n{}\n", self.paint(BOLD, title)));
    }

    /// The names of the columns.
    pub(crate) fn columns(&self) {
        let line = format!(
            "  {:>7}  {}  {} {:>9} {:>10}",
            "time",
            fit("on disk", WIDTH),
            fit("in the bucket", WIDTH),
            "size",
            "lag"
        );
        print(&format!("{}\n", self.paint(DIM, &line)));
    }

    /// A remark across both columns.
    pub(crate) fn remark(&self, text: &str) {
        print(&format!("{}  {}\n", self.time(file_sync_dev_s3::now()), self.paint(YELLOW, text)));
    }

    /// Something that was done on disk.
    pub(crate) fn on_disk(&self, text: &str) {
        print(&format!(
            "{}  {}\n",
            self.time(file_sync_dev_s3::now()),
            fit(text, WIDTH).trim_end()
        ));
    }

    /// Something that arrived in the bucket, `at` which time.
    pub(crate) fn in_bucket(&self, key: &str, size: Option<u64>, mark: Mark, at: Instant) {
        let (sign, colour) = match mark {
            Mark::New => ("+", GREEN),
            Mark::Replaced => ("~", YELLOW),
            Mark::Deleted => ("-", RED),
        };
        let size = size.map(human).unwrap_or_default();
        let name = fit(&format!("{sign} {key}"), WIDTH);
        let lag = self.touched().get(key).map(|touched| at.saturating_duration_since(*touched));
        let lag = lag.map(|lag| format!("{:>7} ms", lag.as_millis())).unwrap_or_default();
        let line = format!(
            "{}  {:WIDTH$}  {} {size:>9} {lag}",
            self.time(at),
            "",
            self.paint(colour, &name)
        );
        print(&format!("{}\n", line.trim_end()));
    }

    /// How it came out.
    pub(crate) fn conclusion(&self, is_good: bool, text: &str) {
        let colour = if is_good { GREEN } else { RED };
        print(&format!("\n{}\n", self.paint(colour, text)));
    }

    fn time(&self, at: Instant) -> String {
        let time = at.saturating_duration_since(self.began);
        self.paint(DIM, &format!("  {:>6.2}s", seconds(time)))
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.is_colourful { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// Nothing can be done about a reader that has gone.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// `text` without control characters and exactly so many characters wide; what is too long loses
/// its middle, since names begin with a directory and end with what distinguishes them.
fn fit(text: &str, width: usize) -> String {
    let plain: Vec<char> =
        text.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let mut line = String::with_capacity(width);
    if plain.len() <= width {
        line.extend(&plain);
        line.extend(std::iter::repeat_n(' ', width - plain.len()));
        return line;
    }
    let head = width / 2 - 1;
    line.extend(&plain[..head]);
    line.push('\u{2026}');
    line.extend(&plain[plain.len() - (width - head - 1)..]);
    line
}

/// A size as people read it.
pub(crate) fn human(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, name) in units {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_it_should_be() {
        for text in ["", "short", "exactly10!", "much longer than ten"] {
            assert_eq!(fit(text, 10).chars().count(), 10);
        }
        assert_eq!(fit("a\x1b[31m", 10), "a?[31m    ");
    }

    #[test]
    fn sizes_are_told_as_people_read_them() {
        assert_eq!([999, 1_000, 20_971_520].map(human), ["999 B", "1.0 kB", "20.9 MB"]);
    }
}
