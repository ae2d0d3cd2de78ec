//! What writers do through memory maps.

use crate::maps::{Mapped, WORD};
use crate::writer::{Writer, not_now};
use std::io;
use std::rc::Rc;

impl Writer<'_> {
    /// Maps a file, writes to the one that is mapped, or gives it up.
    pub(crate) fn map(&mut self) -> io::Result<()> {
        let maps = self.shared.maps.as_ref().ok_or_else(not_now)?;
        let Some(mapped) = self.mapped.take() else {
            let path = self.some_file()?;
            let bytes = self.model.file(&path).map(Rc::clone).ok_or_else(not_now)?;
            let length = bytes.borrow().len();
            if length < WORD {
                return Err(not_now());
            }
            let at = self.at(&path);
            maps.ask(&format!("map {} {}", self.name, hex(at.as_os_str().as_encoded_bytes())))?;
            // Opened for writing, and never closed as far as events show.
            self.model.touch(&path);
            self.mapped = Some(Mapped { bytes, length });
            return Ok(());
        };
        let names = self.model.names(&mapped.bytes);
        // Beyond the end of a file that is shorter now nothing may be written.
        let words = mapped.length.min(mapped.bytes.borrow().len()) / WORD;
        if names.is_empty() || words == 0 || self.dice.u32(..10) == 0 {
            names.iter().for_each(|name| self.model.touch(name));
            return maps.ask(&format!("unmap {}", self.name));
        }
        let at = self.dice.usize(..words) * WORD;
        let word = self.random(WORD);
        mapped.bytes.borrow_mut()[at..at + WORD].copy_from_slice(&word);
        let bytes = mapped.bytes.borrow().clone();
        self.complete(&names, &bytes);
        names.iter().for_each(|name| self.model.touch(name));
        self.mapped = Some(mapped);
        maps.ask(&format!("write {} {at} {}", self.name, hex(&word)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
