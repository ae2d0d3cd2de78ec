//! Writes through shared memory maps, which give no event while they last.
//!
//! There is no safe way to write to a map in Rust, so a few lines of Python do it.

use crate::model::Bytes;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// `map NAME PATH`, `write NAME OFFSET BYTES`, `unmap NAME`; paths and bytes in hexadecimal.
///
/// After a write the page goes to disk: only then does the next write change the file's times.
const HELPER: &str = r#"
import mmap, os, sys
maps = {}
for line in sys.stdin:
    word, name, *rest = line.split()
    try:
        if word == "map":
            file = os.open(bytes.fromhex(rest[0]), os.O_RDWR | os.O_NOFOLLOW)
            maps[name] = mmap.mmap(file, 0)
            os.close(file)
        elif word == "write":
            start, data = int(rest[0]), bytes.fromhex(rest[1])
            maps[name][start:start + len(data)] = data
            maps[name].flush()
        else:
            maps.pop(name).close()
        print("ok", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"#;

/// So many bytes at such an offset are written at once: no reader ever sees half of them.
pub(crate) const WORD: usize = 8;

/// The process that writes through maps.
#[derive(Debug)]
pub(crate) struct Maps(Mutex<Helper>);

#[derive(Debug)]
struct Helper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// A file that is mapped, as long as it was then.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) bytes: Bytes,
    pub(crate) length: usize,
}

impl Maps {
    /// Starts it.
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", HELPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for this program, which then ends it.
            .process_group(0)
            .spawn()?;
        let to = child.stdin.take();
        let from = child.stdout.take();
        let (Some(to), Some(from)) = (to, from) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self(Mutex::new(Helper { child, to, from: BufReader::new(from) })))
    }

    /// Sends a request to the helper.
    pub(crate) fn ask(&self, request: &str) -> io::Result<()> {
        let mut helper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(helper.to, "{request}")?;
        let mut answer = String::new();
        helper.from.read_line(&mut answer)?;
        if answer == "ok\n" { Ok(()) } else { Err(io::Error::other(answer)) }
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        let helper = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        // An error means that it has ended already.
        drop(helper.child.kill().and_then(|()| helper.child.wait()));
    }
}
