//! What is known of the terminal: how wide it is, whether it takes colours, how far something has come.
//!
//! What is no terminal gets whole names, no colours and no progress: it is read by programs, and kept.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns nobody goes below.
const WIDTH_MIN: usize = 40;
/// Time between two words on how far it is.
const PROGRESS: Duration = Duration::from_millis(100);
/// Columns of a bar.
const BAR: u64 = 16;

/// Where a command prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terminal {
    /// Columns, if there is a terminal.
    pub(super) width: Option<usize>,
    /// Whether it shows colours.
    pub(super) colour: bool,
}

/// How a word is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As it should be.
    Good,
    /// Something is done, or waits.
    Busy,
    /// Somebody has to look.
    Bad,
    /// Beside the point.
    Faint,
}

impl Terminal {
    /// What stdout is.
    #[expect(clippy::disallowed_methods, reason = "conventions of terminals, and no settings")]
    pub(super) fn stdout() -> Self {
        let out = std::io::stdout();
        let variables = ["NO_COLOR", "TERM"].map(std::env::var_os);
        Self::of(out.is_terminal(), columns(&out), variables)
    }

    fn of(terminal: bool, width: Option<usize>, [no_color, term]: [Option<OsString>; 2]) -> Self {
        let unwanted = no_color.is_some_and(|value| !value.is_empty());
        let unable = term.is_some_and(|term| term == "dumb");
        Self { width: width.filter(|_| terminal), colour: terminal && !unwanted && !unable }
    }

    /// The text in a colour, where there are any.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Good => "32",
            Style::Busy => "36",
            Style::Bad => "1;31",
            Style::Faint => "2",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Columns that are left beside so many.
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

/// The end of a text, if it is wider than that: of a path it tells more.
pub(super) fn tail(text: &str, width: usize) -> String {
    let reversed = text.chars().rev();
    cut(text, width, reversed, |kept| format!("…{}", kept.iter().rev().collect::<String>()))
}

/// The text, or as many of its letters as have room beside what stands for the rest.
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

/// How far something has come, on one line of a terminal that is written again and again.
#[derive(Debug)]
pub struct Progress {
    width: Option<usize>,
    shown: bool,
    last: Option<Instant>,
}

impl Progress {
    /// On stderr, if that is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        let err = std::io::stderr();
        let width = columns(&err).filter(|_| err.is_terminal());
        Self { width, shown: false, last: None }
    }

    /// Whether anybody sees it.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.width.is_some()
    }

    /// So much is done, of so much if that is known.
    #[expect(clippy::disallowed_methods, reason = "a terminal has its own pace")]
    pub fn tell(&mut self, what: &str, done: u64, of: Option<u64>) {
        let Some(width) = self.width else { return };
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < PROGRESS) {
            return;
        }
        self.last = Some(now);
        self.shown = true;
        let line = head(&line(what, done, of), width.saturating_sub(1));
        // Nobody is told that nobody can be told.
        write!(std::io::stderr(), "\r\u{1b}[K{line}").ok();
    }

    /// Makes room for something that stays.
    pub fn clear(&mut self) {
        if std::mem::replace(&mut self.shown, false) {
            write!(std::io::stderr(), "\r\u{1b}[K").ok();
        }
    }
}

/// The same, shown from several threads, beside lines that stay.
#[derive(Debug, Clone)]
pub struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    /// On stderr, if that is a terminal.
    #[must_use]
    pub fn stderr() -> Option<Self> {
        let progress = Progress::stderr();
        progress.is_shown().then(|| Self(Arc::new(Mutex::new(progress))))
    }

    /// So much is done, of so much if that is known.
    pub fn tell(&self, what: &str, done: u64, of: Option<u64>) {
        self.lock().tell(what, done, of);
    }

    /// Makes room for something that stays.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Writes to `out` such that nothing of the progress is left between its lines.
    #[must_use]
    pub fn beside<W: Write>(&self, out: W) -> Beside<W> {
        Beside { out, progress: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An output beside a progress.
#[derive(Debug)]
pub struct Beside<W> {
    out: W,
    progress: SharedProgress,
}

impl<W: Write> Write for Beside<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Held until it is written, so that nothing comes in between.
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

impl Drop for Progress {
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
        let colour = |terminal, variables| Terminal::of(terminal, Some(80), variables).colour;
        assert!(colour(true, [None, value("xterm")]) && colour(true, [value(""), None]));
        assert!(!colour(false, [None, value("xterm")]));
        assert!(!colour(true, [value("1"), value("xterm")]));
        assert!(!colour(true, [None, value("dumb")]));
        assert_eq!(Terminal::of(false, Some(80), [None, None]).width, None);
        assert_eq!(Terminal::default().paint(Style::Bad, "x"), "x");
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
