//! An error and its causes.

use std::error::Error;

/// The error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The messages of an error and its causes, without a cause that the message before it ends with: the
/// form of the SDK fills a screen. A message of several lines becomes one line.
pub(crate) fn messages(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for message in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = message;
        } else if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
    }
    one_line(&text)
}

/// The lines of a text, as the parts of one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |mut joined, line| {
        if joined.ends_with(':') {
            joined.push(' ');
        } else if !joined.is_empty() {
            joined.push_str("; ");
        }
        joined.push_str(line);
        joined
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Outer {
        message: &'static str,
        source: io::Error,
    }

    #[test]
    fn every_cause_is_there_once() {
        let outer = |message| Outer { message, source: io::Error::other("inner") };
        assert_eq!(messages(&outer("outer")), "outer: inner");
        assert_eq!(messages(&outer("outer: inner")), "outer: inner");
        assert_eq!(causes(&outer("outer")).count(), 2);
        let chain = "none found. Attempted:\n  Environment: not set\n  Profile: not set\n";
        let line = "none found. Attempted: Environment: not set; Profile: not set: inner";
        let lines = messages(&outer(chain));
        assert!(
            !lines.contains('\n') && lines.starts_with(line.trim_end_matches(": inner")),
            "{lines}"
        );
    }
}
