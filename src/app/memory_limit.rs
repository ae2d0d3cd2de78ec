//! Fits the settings to the memory limit of the cgroup, so that the kernel does not kill the
//! process repeatedly.

use crate::config::Config;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Memory of the process besides content.
const BESIDE: u64 = 64 * MIB;
/// Minimum memory for content: one part, and small files beside it.
const CONTENT_MIN: u64 = 8 * MIB;
/// The minimum part size of S3.
const PART_MIN: u64 = 5 * MIB;
/// Version 1 writes the largest multiple of a page if there is no limit.
const UNLIMITED: u64 = 1 << 62;

/// A reduction of the memory for content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitted {
    limit: u64,
    wanted: u64,
    used: u64,
}

impl Fitted {
    /// Logs a warning.
    pub(super) fn log(self) {
        tracing::warn!(
            event = "memory.limit",
            memory_limit_mib = self.limit / MIB,
            needed_mib = (self.wanted + BESIDE) / MIB,
            transfer_memory_mib = self.wanted / MIB,
            used_transfer_memory_mib = self.used / MIB,
            "the memory limit is less than transfer_memory_mib and 64 MiB beside it; content gets less memory: \
             raise the limit, or lower transfer_memory_mib"
        );
    }
}

impl fmt::Display for Fitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [limit, wanted, used] = [self.limit, self.wanted, self.used].map(|bytes| bytes / MIB);
        write!(
            f,
            "the memory limit of {limit} MiB is less than transfer_memory_mib ({wanted}) and 64 MiB beside it; \
             content gets {used} MiB"
        )
    }
}

/// Reduces the memory for content to what fits below the limit of the cgroup, if necessary.
pub(super) fn fit(config: &mut Config) -> Option<Fitted> {
    let limit = from_cgroup(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))?;
    let wanted = config.transfer_memory;
    let reduced = fit_below(config, limit);
    reduced.then_some(Fitted { limit, wanted, used: config.transfer_memory })
}

/// Reduces values that are too large. Returns whether any was.
fn fit_below(config: &mut Config, limit: u64) -> bool {
    if limit >= config.transfer_memory + BESIDE {
        return false;
    }
    let fitting = (limit.saturating_sub(BESIDE) / MIB * MIB).max(CONTENT_MIN);
    config.transfer_memory = config.transfer_memory.min(fitting);
    // A file below the threshold is held as a whole, and so is a part.
    config.multipart_threshold = config.multipart_threshold.min(fitting);
    config.multipart_part_size = config.multipart_part_size.min((fitting / 4 * 3).max(PART_MIN));
    true
}

/// The lowest limit of the process's cgroup and its ancestors in bytes, or `None` without a limit.
fn from_cgroup(own: &Path, mount: &Path) -> Option<u64> {
    let own = fs::read_to_string(own).ok()?;
    // Version 1 has a line per controller, version 2 one line for all.
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let mut first = None;
    let mut second = None;
    for (controllers, path) in lines {
        if controllers.is_empty() {
            second = Some(path);
        } else if controllers.split(',').any(|controller| controller == "memory") {
            first = Some(path);
        }
    }
    match (first, second) {
        (Some(path), _) => lowest(&mount.join("memory"), path, "memory.limit_in_bytes"),
        (None, Some(path)) => lowest(mount, path, "memory.max"),
        (None, None) => None,
    }
}

/// The lowest limit from `path` up to `top`. If the path exists on the host only, the limit of
/// `top` counts.
fn lowest(top: &Path, path: &str, file: &str) -> Option<u64> {
    let names = Path::new(path).components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut directories: Vec<PathBuf> = vec![top.to_owned()];
    for name in names {
        let next = directories.last().map(|above| above.join(name));
        directories.extend(next);
    }
    directories.iter().filter_map(|directory| limit(&directory.join(file))).min()
}

fn limit(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    // `max` is not a number.
    text.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, load};
    use std::collections::BTreeMap;

    /// A limit read from these files.
    fn read(own: &str, files: &[(&str, &str)]) -> Option<u64> {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = directory.path().join("mount");
        for (name, content) in files {
            let file = mount.join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            fs::write(file, content).expect("written");
        }
        fs::write(directory.path().join("own"), own).expect("written");
        from_cgroup(&directory.path().join("own"), &mount)
    }

    #[test]
    fn the_limit_is_the_lowest_on_the_way_up_in_both_versions() {
        let second =
            [("a/memory.max", "max\n"), ("a/b/memory.max", "200\n"), ("memory.max", "300")];
        assert_eq!(read("0::/a/b\n", &second), Some(200));
        assert_eq!(read("0::/a\n", &second), Some(300));
        let first = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/x/memory.limit_in_bytes", "100\n"),
        ];
        let own = "12:cpu,cpuacct:/other\n5:memory:/docker/x\n0::/system\n";
        assert_eq!(read(own, &first), Some(100));
        assert_eq!(read("5:memory:/\n", &first), None, "no limit in words of version 1");
    }

    #[test]
    fn a_container_that_sees_the_path_of_its_host_finds_its_own_limit_at_the_top() {
        let top = [("memory.max", "100\n"), ("memory/memory.limit_in_bytes", "200\n")];
        assert_eq!(read("0::/kubepods/pod1/c1\n", &top), Some(100));
        assert_eq!(read("0::/../../kubepods/c1\n", &top), Some(100));
        assert_eq!(read("3:memory:/kubepods/pod1/c1\n", &top), Some(200));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert_eq!(read("0::/\n", &[("memory.max", "max\n")]), None);
        assert_eq!(read("0::/\n", &[]), None);
        assert_eq!(read("nonsense\n::\n", &[("memory.max", "nonsense\n")]), None);
        assert_eq!(from_cgroup(Path::new("/nowhere"), Path::new("/nowhere")), None);
    }

    fn config(transfer_memory_mib: u64) -> Config {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
        for (key, value) in [
            ("watch_path", "/data"),
            ("s3_bucket", "my-bucket"),
            ("transfer_memory_mib", &transfer_memory_mib.to_string()),
        ] {
            sources.flags.push((key.to_owned(), value.to_owned()));
        }
        load(&sources).expect("valid").config
    }

    #[test]
    fn content_gets_what_fits_and_never_less_than_works() {
        for (wanted, limit, fits) in [
            (128, 192, 128),
            (128, 191, 127),
            (128, 100, 36),
            (128, 70, 8),
            (128, 1, 8),
            (16, 79, 15),
        ] {
            let mut config = config(wanted);
            assert_eq!(fit_below(&mut config, limit * MIB), fits < wanted, "{wanted} in {limit}");
            assert_eq!(config.transfer_memory, fits * MIB, "{wanted} in {limit}");
            let Config { multipart_threshold: threshold, multipart_part_size: part, .. } = config;
            assert!(threshold <= fits * MIB && part <= fits * MIB && part >= PART_MIN);
        }
    }
}
