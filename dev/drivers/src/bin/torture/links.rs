//! What writers do to names.

use crate::model::content;
use crate::writer::{Writer, not_now};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

impl Writer<'_> {
    pub(crate) fn rename_file(&mut self) -> io::Result<()> {
        let from = self.some_file()?;
        let to = self.some_name();
        self.prepare_above(&to)?;
        self.rename(&from, &to)
    }

    /// Renames a directory with all that is in it, now and then over one that was emptied for it.
    pub(crate) fn rename_directory(&mut self) -> io::Result<()> {
        let from = self.some_directory();
        let to = self.some_directory();
        if from == self.name || to == self.name || to.starts_with(&format!("{from}/")) {
            return Err(not_now());
        }
        self.prepare_above(&to)?;
        if self.dice.bool() && !from.starts_with(&format!("{to}/")) {
            // It need not be there.
            drop(self.remove(&to));
        }
        self.rename(&from, &to)
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let same = match (self.model.file(from), self.model.file(to)) {
            (Some(from), Some(to)) => Rc::ptr_eq(from, to),
            _ => from == to,
        };
        // Two names of one file stay both; below a link is not ours.
        if same || self.is_behind_odd(from) || self.is_behind_odd(to) {
            return Err(not_now());
        }
        for (name, bytes) in self.model.below(from) {
            if let Some(rest) = name.strip_prefix(from) {
                self.shared.states.complete(&format!("{to}{rest}"), content(&bytes));
            }
        }
        fs::rename(self.at(from), self.at(to))?;
        self.model.rename(from, to);
        Ok(())
    }

    pub(crate) fn link(&mut self) -> io::Result<()> {
        let from = self.some_file()?;
        let to = self.some_name();
        self.prepare(&to)?;
        let bytes = self.model.file(&from).map(Rc::clone).ok_or_else(not_now)?;
        self.shared.states.complete(&to, content(&bytes));
        fs::hard_link(self.at(&from), self.at(&to))?;
        self.model.touch(&from);
        self.model.set_file(&to, bytes);
        Ok(())
    }

    /// Puts a link out of the tree where a file or a directory was, at once or after it.
    pub(crate) fn symlink(&mut self) -> io::Result<()> {
        let (path, target) = match self.dice.u32(..3) {
            0 => (self.some_directory(), self.outside.join("a")),
            1 => (self.some_file()?, self.outside.join("f0")),
            _ => (self.some_name(), self.outside.join("a/f0")),
        };
        if path == self.name {
            return Err(not_now());
        }
        self.prepare_above(&path)?;
        let swapped = format!("{path}.link");
        self.prepare_above(&swapped)?;
        if self.model.is_odd(&swapped) || self.model.file(&swapped).is_some() {
            self.remove(&swapped)?;
        }
        symlink(target, self.at(&swapped))?;
        self.model.set_odd(&swapped);
        if fs::symlink_metadata(self.at(&path)).is_ok_and(|there| there.is_dir()) {
            self.remove(&path)?;
        }
        self.rename(&swapped, &path)
    }

    pub(crate) fn fifo(&mut self) -> io::Result<()> {
        let path = self.some_name();
        self.prepare(&path)?;
        if self.model.file(&path).is_some() {
            self.remove(&path)?;
        }
        mknodat(CWD, self.at(&path), FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
        self.model.set_odd(&path);
        Ok(())
    }

    pub(crate) fn chmod(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        let mode = [0o600, 0o644, 0o755, 0o444][self.dice.usize(..4)];
        self.model.touch(&path);
        fs::set_permissions(self.at(&path), Permissions::from_mode(mode))
    }

    pub(crate) fn set_time_back(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.dice.u64(..1_700_000_000));
        self.model.touch(&path);
        File::options().write(true).open(self.at(&path))?.set_modified(time)
    }

    /// Directories in directories, with files, faster than anybody can watch them.
    pub(crate) fn storm(&mut self) -> io::Result<()> {
        let mut directory = self.some_directory();
        for _ in 0..self.dice.usize(2..5) {
            directory = format!("{directory}/{}", ["a", "b"][self.dice.usize(..2)]);
            if directory.len() > 200 {
                break;
            }
            for name in ["f0", "f1"] {
                let path = format!("{directory}/{name}");
                self.prepare(&path)?;
                self.overwrite(&path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn remove_directory(&mut self) -> io::Result<()> {
        let path = self.some_directory();
        if path == self.name {
            return Err(not_now());
        }
        self.remove(&path)
    }

    pub(crate) fn remove_file(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        self.remove(&path)
    }

    /// Another file under the same name, at once.
    pub(crate) fn recreate(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        self.remove(&path)?;
        self.overwrite(&path)
    }

    /// Removes whatever is there.
    fn remove(&mut self, path: &str) -> io::Result<()> {
        if self.is_behind_odd(path) {
            return Err(not_now());
        }
        if fs::symlink_metadata(self.at(path))?.is_dir() {
            fs::remove_dir_all(self.at(path))?;
        } else {
            fs::remove_file(self.at(path))?;
        }
        self.model.forget(path);
        Ok(())
    }

    fn is_behind_odd(&self, path: &str) -> bool {
        path.rsplit_once('/').is_some_and(|(above, _)| self.model.is_odd(above))
    }
}
