//! The terminal: its width, its colours, and the progress on it.
//!
//! An output that is not a terminal gets whole names, no colours and no progress, because programs
//! read it.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Minimum number of columns.
const WIDTH_MIN: usize = 40;
/// The interval of progress updates.
const PROGRESS: Duration = Duration::from_millis(100);
/// Columns of a bar.
const BAR: u64 = 16;

/// The output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terminal {
    /// The number of columns, if there is a terminal.
    pub(super) width: Option<usize>,
    /// Whether it supports colours.
    pub(super) colour: bool,
}

/// The style of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordStyle {
    /// As expected.
    Good,
    /// In progress, or pending.
    Busy,
    /// Needs attention.
    Bad,
    /// Less important.
    Faint,
}

impl Terminal {
    /// Inspects stdout.
    #[expect(clippy::disallowed_methods, reason = "conventions of terminals, and no settings")]
    pub(super) fn stdout() -> Self {
        let out = std::io::stdout();
        let variables = ["NO_COLOR", "TERM"].map(std::env::var_os);
        Self::detect(out.is_terminal(), columns(&out), variables)
    }

    fn detect(
        terminal: bool,
        width: Option<usize>,
        [no_color, term]: [Option<OsString>; 2],
    ) -> Self {
        let unwanted = no_color.is_some_and(|value| !value.is_empty());
        let unable = term.is_some_and(|term| term == "dumb");
        Self { width: width.filter(|_| terminal), colour: terminal && !unwanted && !unable }
    }

    /// Paints the text, if there are colours.
    pub(super) fn paint(self, style: WordStyle, text: &str) -> String {
        let code = match style {
            WordStyle::Good => "32",
            WordStyle::Busy => "36",
            WordStyle::Bad => "1;31",
            WordStyle::Faint => "2",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The columns that remain beside `used`.
    pub(super) fn left(self, used: usize) -> usize {
        self.width.map_or(usize::MAX, |width| width.max(WIDTH_MIN).saturating_sub(used))
    }
}

fn columns(of: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The beginning of a text, if it is wider than that.
pub(super) fn head(text: &str, width: usize) -> String {
    cut(text, width, text.chars(), |kept| format!("{}…", String::from_iter(kept)))
}

/// The end of a text, if it is wider than that: the end of a path is the most useful.
pub(super) fn tail(text: &str, width: usize) -> String {
    let reversed = text.chars().rev();
    cut(text, width, reversed, |kept| format!("…{}", kept.iter().rev().collect::<String>()))
}

/// Cuts the text to the letters that fit beside the ellipsis.
fn cut(
    text: &str,
    width: usize,
    letters: impl Iterator<Item = char>,
    with_rest: fn(Vec<char>) -> String,
) -> String {
    if width == 0 || text.width() <= width {
        return if width == 0 { String::new() } else { text.to_owned() };
    }
    let mut used = 1;
    let fits = |char: &char| {
        used += char.width().unwrap_or(0);
        used <= width
    };
    with_rest(letters.take_while(fits).collect())
}

/// The progress, on one line of a terminal that is rewritten.
#[derive(Debug)]
pub struct TerminalProgress {
    width: Option<usize>,
    shown: bool,
    last: Option<Instant>,
}

impl TerminalProgress {
    /// Shows it on stderr, if that is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        let err = std::io::stderr();
        let width = columns(&err).filter(|_| err.is_terminal());
        Self { width, shown: false, last: None }
    }

    /// Whether it is visible.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.width.is_some()
    }

    /// Shows the progress, with the total if it is known.
    #[expect(clippy::disallowed_methods, reason = "a terminal has its own pace")]
    pub fn show(&mut self, what: &str, done: u64, of: Option<u64>) {
        let Some(width) = self.width else { return };
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < PROGRESS) {
            return;
        }
        self.last = Some(now);
        self.shown = true;
        let line = head(&line(what, done, of), width.saturating_sub(1));
        // Errors of the terminal are ignored.
        write!(std::io::stderr(), "\r\u{1b}[K{line}").ok();
    }

    /// Clears the line for permanent output.
    pub fn clear(&mut self) {
        if std::mem::replace(&mut self.shown, false) {
            write!(std::io::stderr(), "\r\u{1b}[K").ok();
        }
    }
}

/// A progress that several threads update, beside permanent lines.
#[derive(Debug, Clone)]
pub struct ProgressHandle(Arc<Mutex<TerminalProgress>>);

impl ProgressHandle {
    /// Shows it on stderr, if that is a terminal.
    #[must_use]
    pub fn stderr() -> Option<Self> {
        let progress = TerminalProgress::stderr();
        progress.is_shown().then(|| Self(Arc::new(Mutex::new(progress))))
    }

    /// Shows the progress, with the total if it is known.
    pub fn show(&self, what: &str, done: u64, of: Option<u64>) {
        self.lock().show(what, done, of);
    }

    /// Clears the line for permanent output.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Writes to `out` so that no progress remains between its lines.
    #[must_use]
    pub fn beside<W: Write>(&self, out: W) -> BesideProgress<W> {
        BesideProgress { out, progress: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, TerminalProgress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An output beside a progress.
#[derive(Debug)]
pub struct BesideProgress<W> {
    out: W,
    progress: ProgressHandle,
}

impl<W: Write> Write for BesideProgress<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Held until it is written, so that no progress is printed in between.
        let mut progress = self.progress.lock();
        progress.clear();
        let written = self.out.write(bytes)?;
        self.out.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(what: &str, done: u64, of: Option<u64>) -> String {
    let Some(of) = of.filter(|of| *of > 0) else { return format!("{done} {what}") };
    let done = done.min(of);
    let full = done * BAR / of;
    let bar: String = (0..BAR).map(|column| if column < full { '#' } else { '-' }).collect();
    format!("[{bar}] {:>3} %  {done} of {of} {what}", done * 100 / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let value = |text: &str| Some(OsString::from(text));
        let colour = |terminal, variables| Terminal::detect(terminal, Some(80), variables).colour;
        assert!(colour(true, [None, value("xterm")]) && colour(true, [value(""), None]));
        assert!(!colour(false, [None, value("xterm")]));
        assert!(!colour(true, [value("1"), value("xterm")]));
        assert!(!colour(true, [None, value("dumb")]));
        assert_eq!(Terminal::detect(false, Some(80), [None, None]).width, None);
        assert_eq!(Terminal::default().paint(WordStyle::Bad, "x"), "x");
    }

    #[test]
    fn names_are_cut_by_columns_and_not_by_letters() {
        assert_eq!((head("short", 5), tail("short", 5)), ("short".to_owned(), "short".to_owned()));
        assert_eq!(head("folder/name", 8), "folder/…");
        assert_eq!(tail("folder/name", 8), "…er/name");
        assert_eq!(head("漢字漢字", 6), "漢字…");
        assert_eq!(tail("漢字漢字", 6), "…漢字");
        assert_eq!((head("x", 0), tail("x", 0)), (String::new(), String::new()));
    }

    #[test]
    fn a_bar_says_how_much_of_how_much() {
        assert_eq!(line("files", 7, None), "7 files");
        assert_eq!(line("files", 1, Some(2)), "[########--------]  50 %  1 of 2 files");
        assert_eq!(line("files", 9, Some(3)), "[################] 100 %  3 of 3 files");
    }
}
