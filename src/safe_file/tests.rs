//! Tests of files that another user can plant, which must have no effect.

use super::*;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::time::Duration;

struct Neighbourhood {
    directory: tempfile::TempDir,
}

impl Neighbourhood {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("victim"), "precious").expect("written");
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("made");
        path
    }

    fn victim(&self) -> String {
        std::fs::read_to_string(self.at("victim")).expect("read")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("listed");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_planted_link_leads_no_write_anywhere() {
    let place = Neighbourhood::new();
    for name in ["file", "file.new", ".file.new"] {
        symlink("victim", place.at(name)).expect("a link");
    }
    let mut file = OwnFile::new(place.at("file"), FileReaders::Everyone);
    file.replace(b"one").expect("replaced");
    assert_eq!(std::fs::read_to_string(place.at("file")).expect("read"), "one");
    assert!(std::fs::symlink_metadata(place.at("file")).expect("there").is_file());
    assert_eq!(place.victim(), "precious");
    symlink("victim", place.at("message")).expect("a link");
    let error = overwrite(&place.at("message"), b"x").expect_err("a link");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    assert!(open_own(&place.at("message")).is_err());
    assert_eq!(place.victim(), "precious");
}

#[test]
fn a_fifo_blocks_neither_a_write_nor_a_read() {
    let place = Neighbourhood::new();
    let fifo = place.fifo("fifo");
    for error in [
        overwrite(&fifo, b"x").expect_err("a FIFO"),
        open_own(&fifo).expect_err("a FIFO"),
        read_own(&fifo, 10).expect_err("a FIFO"),
        read_input(&fifo, 10).expect_err("a FIFO"),
    ] {
        assert!(error.to_string().contains("a FIFO, not a regular file"), "{error}");
    }
    let late = read_input_or_pipe(&fifo, 10, Duration::from_millis(20)).expect_err("no writer");
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    OwnFile::new(fifo.clone(), FileReaders::Owner).replace(b"one").expect("replaced");
    let metadata = std::fs::symlink_metadata(&fifo).expect("there");
    assert!(metadata.is_file() && !metadata.file_type().is_fifo());
}

#[test]
fn what_never_ends_or_is_too_long_is_not_read() {
    let place = Neighbourhood::new();
    symlink("/dev/zero", place.at("endless")).expect("a link");
    let refused = |error: io::Error| error.to_string();
    assert!(refused(read_own(&place.at("endless"), 10).expect_err("a link")).contains("link"));
    assert!(refused(read_input(&place.at("endless"), 10).expect_err("endless")).contains("device"));
    assert!(read_input_or_pipe(&place.at("endless"), 10, Duration::ZERO).is_err());
    let too_long = read_own(&place.at("victim"), 7).expect_err("too long");
    assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(read_own(&place.at("victim"), 8).expect("short enough"), b"precious");
}

#[test]
fn what_a_library_would_read_without_an_end_is_refused_before() {
    let place = Neighbourhood::new();
    symlink("/dev/zero", place.at("endless")).expect("a link");
    let fifo = place.fifo("fifo");
    let file = |path: &Path, bytes_max| LibraryFile { path: path.to_owned(), bytes_max };
    for (path, bytes_max, why) in [
        (place.at("endless"), 8, "it is a device"),
        (fifo, 8, "it is a FIFO"),
        (place.at(""), 8, "it is a directory"),
        (place.at("victim"), 7, "it is longer than 7 bytes"),
    ] {
        let error = file(&path, bytes_max).refuse_endless().expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    for path in [place.at("victim"), place.at("missing"), "/dev/null".into()] {
        file(&path, 8).refuse_endless().expect("it has an end, or the library reports it");
    }
}

#[test]
fn an_operator_may_name_a_link_or_a_pipe() {
    let place = Neighbourhood::new();
    symlink("victim", place.at("..data")).expect("a link");
    assert_eq!(read_input(&place.at("..data"), 100).expect("read"), b"precious");
    let fifo = place.fifo("fifo");
    let writer = fifo.clone();
    let written = std::thread::spawn(move || std::fs::write(writer, "piped"));
    let patience = Duration::from_secs(30);
    assert_eq!(read_input_or_pipe(&fifo, 100, patience).expect("read"), b"piped");
    written.join().expect("no panic").expect("written");
}

#[test]
fn a_directory_that_became_a_link_is_not_entered() {
    let place = Neighbourhood::new();
    for name in ["own", "other"] {
        std::fs::create_dir(place.at(name)).expect("made");
    }
    let mut file = OwnFile::new(place.at("own/file"), FileReaders::Owner);
    file.replace(b"one").expect("replaced");
    std::fs::remove_dir_all(place.at("own")).expect("removed");
    symlink("other", place.at("own")).expect("a link");
    file.replace(b"two").expect_err("a link is in the way");
    assert!(!place.at("other/file").try_exists().expect("known"));
    std::fs::remove_file(place.at("own")).expect("removed");
    std::fs::create_dir(place.at("own")).expect("made");
    file.replace(b"three").expect("the directory is back");
    assert_eq!(std::fs::read_to_string(place.at("own/file")).expect("read"), "three");
}

#[test]
fn a_second_name_of_a_file_is_not_overwritten() {
    let place = Neighbourhood::new();
    std::fs::hard_link(place.at("victim"), place.at("message")).expect("a link");
    let error = overwrite(&place.at("message"), b"x").expect_err("two names");
    assert!(error.to_string().contains("hard link"), "{error}");
    assert!(open_own(&place.at("message")).is_err());
    OwnFile::new(place.at("message"), FileReaders::Owner).replace(b"one").expect("replaced");
    assert_eq!(place.victim(), "precious");
}

#[test]
fn what_a_killed_process_left_is_removed_and_nothing_else() {
    let place = Neighbourhood::new();
    let left = temporary_name(OsStr::new("file"));
    std::fs::write(place.at(&left.to_string_lossy()), "half").expect("written");
    let others = [".file.0123.new", ".other.0123456789abcdef.new", "file.new"];
    for name in others {
        std::fs::write(place.at(name), "").expect("written");
    }
    OwnFile::new(place.at("file"), FileReaders::Owner).replace(b"one").expect("replaced");
    assert_eq!(place.names(), [others[0], others[1], "file", others[2], "victim"]);
}

#[test]
fn a_file_of_the_owner_is_for_the_owner_alone() {
    let place = Neighbourhood::new();
    OwnFile::new(place.at("own"), FileReaders::Owner).replace(b"").expect("replaced");
    open_own(&place.at("lock")).expect("made");
    for name in ["own", "lock"] {
        let mode = std::fs::metadata(place.at(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let long = "x".repeat(255);
    OwnFile::new(place.at(&long), FileReaders::Owner).replace(b"").expect("a long name");
}

#[tokio::test]
async fn a_published_file_is_the_latest_version() {
    let place = Neighbourhood::new();
    let mut publisher = FilePublisher::new(OwnFile::new(place.at("file"), FileReaders::Everyone));
    for version in ["one", "two"] {
        publisher.publish(move || Ok(version)).await.expect("published");
        assert_eq!(std::fs::read_to_string(place.at("file")).expect("read"), version);
    }
    publisher.publish(|| Err::<&str, _>(io::Error::other("no"))).await.expect_err("no content");
    assert_eq!(std::fs::read_to_string(place.at("file")).expect("read"), "two");
}

#[test]
fn in_a_directory_that_hands_its_group_on_it_is_for_the_group_as_well() {
    let place = Neighbourhood::new();
    let group = std::fs::Permissions::from_mode(0o2770);
    std::fs::set_permissions(place.directory.path(), group).expect("set");
    OwnFile::new(place.at("own"), FileReaders::Owner).replace(b"").expect("replaced");
    let mode = std::fs::metadata(place.at("own")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}
