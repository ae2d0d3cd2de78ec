//! What programs do to the directory of a [`World`], and what a watcher says of it.

use super::super::*;
use super::world::{File, NAMES, World, path};
use crate::model::Fingerprint;

impl World {
    /// A change of the directory; the watcher may or may not report it.
    pub(super) fn change_disk(&mut self) {
        self.changes += 1;
        let name = path(NAMES[self.rng.usize(..NAMES.len())]);
        let other = path(NAMES[self.rng.usize(..NAMES.len())]);
        let kind = self.rng.u8(0..6);
        let subtree = kind == 5;
        self.flushing.changed(NAMES.iter().map(|known| path(known)).filter(|known| {
            *known == name || *known == other || (subtree && known.is_within(&other))
        }));
        let touched = match kind {
            0..=2 => {
                self.write(&name);
                vec![name]
            }
            3 => {
                self.disk.remove(&name);
                vec![name]
            }
            4 => {
                let Some(mut file) = self.disk.remove(&name) else { return };
                file.fingerprint.ctime_ns = self.nanos();
                self.disk.insert(other.clone(), file);
                vec![name, other]
            }
            _ => {
                self.disk.retain(|path, _| !path.is_within(&other));
                vec![other]
            }
        };
        let hints = match self.rng.u8(0..8) {
            // Lost: the next comparison has to find it.
            0 if !self.honest => return,
            1 => vec![Hint::Tree(RelPath::root(), Depth::Whole)],
            // The hints of a directory that came or went.
            0 | 2 => touched.into_iter().map(|path| Hint::Tree(path, Depth::Whole)).collect(),
            _ if subtree => {
                touched.into_iter().map(|path| Hint::Tree(path, Depth::Whole)).collect()
            }
            number => {
                let activity =
                    [WriteState::Done, WriteState::Gone, WriteState::Found, WriteState::Writing];
                let activity = activity[usize::from(number) % 4];
                touched.into_iter().map(|path| Hint::Path(path, activity)).collect()
            }
        };
        self.events.push(Event::Hinted(hints));
    }

    pub(super) fn write(&mut self, name: &RelPath) {
        let content = self.changes;
        let inode = self.rng.u64(0..3);
        let now = self.nanos();
        let size = self.rng.u64(0..2);
        let mtime_ns = now;
        let ctime_ns = now;
        let btime_ns = now;
        let fingerprint =
            Fingerprint { mtime_ns, ctime_ns, inode, btime_ns, ..Fingerprint::with_size(size) };
        self.disk.insert(name.clone(), File { content, fingerprint });
    }

    /// Never the same twice, as on a file system with fine time stamps.
    pub(super) fn nanos(&mut self) -> i64 {
        self.clock += Duration::from_nanos(1);
        i64::try_from(self.clock.as_nanos()).expect("not that far in the future")
    }
}
