//! Everything one test has for itself: a directory, a bucket, the settings, and the daemons it
//! starts on them.

use super::apart::Apart;
use super::daemon::{Daemon, Ended};
use super::record::{self, Invalidations, Waiting};
use super::tree::Tree;
use super::wait::{eventually, patience};
use bytes::Bytes;
use file_sync_dev_s3::{
    ACCESS_KEY, BUCKET, Change, CloudFront, DISTRIBUTION, Options, REGION, SECRET_KEY, Server, What,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The prefix of all keys, with its separator.
pub(crate) const PREFIX: &str = "m/";
/// The quiet time before invalidations are requested.
const COLLECTION: Duration = Duration::from_secs(1);
/// Differences shown when there are more.
const SHOWN_MAX: usize = 8;

/// The built program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_file-sync-service");

/// Everything one test has for itself.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) tree: Tree,
    place: TempDir,
    program: PathBuf,
    user: Option<u32>,
    apart: Option<Apart>,
    /// What the daemon is started by, if not by itself.
    wrapper: Vec<String>,
    variables: BTreeMap<String, String>,
    /// Foreign objects below the prefix.
    foreign: BTreeMap<String, Bytes>,
}

impl World {
    /// An empty tree, an empty bucket, and settings that wait for nothing longer than they must.
    pub(crate) fn new() -> Self {
        Self::with(&Options::default())
    }

    /// The same with a server of these options.
    pub(crate) fn with(options: &Options) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let server = Server::start(options).expect("a server");
        let tree = Tree::new(place.path().join("watched"));
        let mut world = Self {
            tree,
            program: PROGRAM.into(),
            user: None,
            apart: None,
            wrapper: Vec::new(),
            variables: BTreeMap::new(),
            foreign: BTreeMap::new(),
            server,
            place,
        };
        let watched = world.tree.root().to_owned();
        let state = world.state_dir();
        let endpoint = world.server.endpoint();
        for (key, value) in [
            ("watch_path", &*watched.to_string_lossy()),
            ("state_dir", &*state.to_string_lossy()),
            ("s3_bucket", BUCKET),
            ("s3_prefix", PREFIX),
            ("s3_force_path_style", "true"),
            // Daemons of other tests run at the same time.
            ("listen_address", "off"),
            ("admin_address", "off"),
            ("debounce_milliseconds", "20"),
            // What was found by a listing, as in a new folder, rests for this long.
            ("open_file_quiet_seconds", "1"),
            ("retry_interval_seconds", "2"),
            ("log_level", "info,file_sync_service=debug"),
        ] {
            world.set(key, value);
        }
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_S3", &endpoint),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("RUST_BACKTRACE", "1"),
            // Tests look at what it has open, also those of a user who is not root.
            ("FILE_SYNC_DEBUGGABLE", "1"),
        ] {
            world.variables.insert(name.to_owned(), value.to_owned());
        }
        world
    }

    /// One whose daemons run in a mount namespace of its own. Nothing, and a word why, if that cannot
    /// be: the test must be skipped.
    pub(crate) fn in_mount_namespace() -> Option<Self> {
        let apart = Apart::new()?;
        let mut world = Self::new();
        world.tree = Tree::new(apart.seen(world.tree.root()));
        world.apart = Some(apart);
        Some(world)
    }

    /// The namespace of a world made [`apart`](Self::apart).
    pub(crate) fn namespace(&self) -> &Apart {
        self.apart.as_ref().expect("made apart")
    }

    /// The watched directory, as configured.
    pub(crate) fn watch_path(&self) -> PathBuf {
        self.sibling_path("watched")
    }

    /// Starts daemons by another program from now on, which is given theirs and its arguments; by
    /// none if this is empty.
    pub(crate) fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
    }

    /// Puts a CloudFront in front of the bucket, with a short collection time: longer on slow machines, where
    /// changes of a moment arrive one after the other.
    pub(crate) fn behind_cloudfront(self) -> (Self, CloudFront) {
        let cloudfront = CloudFront::start().expect("a server");
        let mut world = self
            .setting("cloudfront_enabled", "true")
            .setting("cloudfront_distribution_id", DISTRIBUTION);
        world
            .variables
            .entry(variable("cloudfront_batch_seconds"))
            .or_insert_with(|| patience(COLLECTION).as_secs().max(1).to_string());
        world.variables.insert("AWS_ENDPOINT_URL_CLOUDFRONT".to_owned(), cloudfront.endpoint());
        (world, cloudfront)
    }

    /// Requested and pending invalidations in the state.
    pub(crate) fn invalidations(&self) -> Invalidations {
        eventually("the record can be read", || record::invalidations(&self.state_dir()))
    }

    /// Sets a setting.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.variables.insert(variable(key), value.to_owned());
    }

    /// Sets a variable of the environment.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a variable of the environment away.
    pub(crate) fn without_variable(&mut self, name: &str) {
        assert!(self.variables.remove(name).is_some(), "{name} is not set");
    }

    /// The same as a setting, while the world is made.
    #[must_use]
    pub(crate) fn setting(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Leaves a setting at the daemon's own default.
    #[must_use]
    pub(crate) fn default_of(mut self, key: &str) -> Self {
        let known = self.variables.remove(&variable(key));
        assert!(known.is_some(), "{key} is at its default already");
        self
    }

    /// Runs daemons as a user without rights, who owns the tree as far as it is there. Does nothing
    /// if the tests have no other rights themselves.
    #[must_use]
    pub(crate) fn without_rights(mut self) -> Self {
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return self;
        }
        // Where the program was built may be no place for others.
        self.program = self.place.path().join("program");
        fs::copy(PROGRAM, &self.program).expect("copied");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.place.path(), everybody).expect("opened up");
        fs::create_dir_all(self.state_dir()).expect("made");
        for path in [self.tree.root(), &self.state_dir()] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        self.user = Some(NOBODY);
        self
    }

    /// A directory outside the tree.
    pub(crate) fn sibling_path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Where the daemon keeps its record.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.sibling_path("state")
    }

    /// The same, as the tests see it.
    pub(crate) fn state_seen(&self) -> PathBuf {
        let state = self.state_dir();
        self.apart.as_ref().map_or_else(|| state.clone(), |apart| apart.seen(&state))
    }

    /// Where `SQLite` can read the record: it follows a path by itself, and does not find its way into
    /// a namespace.
    fn readable_state(&self) -> Result<PathBuf, String> {
        if self.apart.is_none() {
            return Ok(self.state_dir());
        }
        let copy = self.sibling_path("copy of the state");
        fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
        for name in ["state.db", "state.db-wal"] {
            drop(fs::remove_file(copy.join(name)));
            let copied = fs::copy(self.state_seen().join(name), copy.join(name));
            copied.map_err(|error| format!("{name}: {error}")).or_else(|error| {
                // There is no journal after an orderly end.
                if name == "state.db" { Err(error) } else { Ok(0) }
            })?;
        }
        Ok(copy)
    }

    /// A run of the program.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.wrapper.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let program = words.next().expect("one at least");
        let mut command = match &self.apart {
            Some(apart) => apart.command(program),
            None => Command::new(program),
        };
        command
            .args(words)
            .args(arguments)
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.place.path());
        command.env("HOME", self.place.path());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts the daemon, and waits for its first word: from there on it listens to signals.
    pub(crate) fn start(&self) -> Daemon {
        let daemon = self.spawn();
        daemon.wait_for("service.started");
        daemon
    }

    /// Starts the daemon, and does not wait for anything.
    pub(crate) fn spawn(&self) -> Daemon {
        Daemon::spawn(self.command(&["run"]))
    }

    /// Runs `once` to its end.
    pub(crate) fn once(&self) -> Ended {
        Daemon::spawn(self.command(&["once"])).wait()
    }

    /// Puts an object below the prefix, as another program might.
    pub(crate) fn put_object(&self, name: &str, content: &str) {
        self.server.store().put(BUCKET, &key(name), content.to_owned());
    }

    /// Puts an object below the prefix that no daemon knows of and none may touch.
    pub(crate) fn put_foreign(&mut self, name: &str, content: &str) {
        let body = Bytes::copy_from_slice(content.as_bytes());
        self.server.store().put(BUCKET, &key(name), body.clone());
        self.foreign.insert(name.to_owned(), body);
    }

    /// The content of the object of `name`, if it is there.
    pub(crate) fn object(&self, name: &str) -> Option<Bytes> {
        self.server.store().object(BUCKET, &key(name))?.body.clone()
    }

    /// The contents that `name` ever had in the bucket, oldest first.
    pub(crate) fn versions(&self, name: &str) -> Vec<Bytes> {
        self.server.store().bodies(BUCKET, &key(name))
    }

    /// All that ever happened in the bucket.
    pub(crate) fn history(&self) -> Vec<Change> {
        self.server.store().history(BUCKET)
    }

    /// The names whose objects were deleted, in order.
    pub(crate) fn deleted(&self) -> Vec<String> {
        let deleted = |change: &Change| matches!(change.what, What::Deleted);
        self.history().into_iter().filter(deleted).map(|change| change.key).collect()
    }

    /// Every content that was ever stored must have stayed, under whatever name: for trees of which
    /// files were only renamed, and no two are equal.
    pub(crate) fn assert_a_copy_was_there_all_the_time(&self) {
        let mut copies: HashMap<Bytes, usize> = HashMap::new();
        let mut contents: HashMap<String, Bytes> = HashMap::new();
        for change in self.history() {
            let content = change.what.stored().and_then(|object| object.body.clone());
            if let Some(content) = &content {
                *copies.entry(content.clone()).or_default() += 1;
            }
            let before = match content {
                Some(content) => contents.insert(change.key.clone(), content),
                None => contents.remove(&change.key),
            };
            let Some(left) = before.and_then(|before| copies.get_mut(&before)) else { continue };
            *left -= 1;
            assert!(*left > 0, "{} went before the file was there under its new name", change.key);
        }
    }

    /// Multipart uploads that are neither completed nor aborted: key and id.
    pub(crate) fn uploads(&self) -> Vec<(String, String)> {
        self.server.store().uploads(BUCKET)
    }

    /// What waits in the record.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        eventually("the record can be read", || record::waiting(&self.readable_state()?))
    }

    /// How many parts of multipart uploads the store has confirmed.
    pub(crate) fn parts_recorded(&self) -> u32 {
        eventually("the record can be read", || record::parts(&self.state_dir()))
    }

    /// How many files the daemon means to compare once more.
    pub(crate) fn racy(&self) -> u32 {
        eventually("the record can be read", || record::racy(&self.readable_state()?))
    }

    /// What the bucket holds that it should not, and the other way round, by every byte.
    pub(crate) fn difference(&self) -> Result<(), String> {
        let objects = self.server.objects(BUCKET);
        let wanted = self.tree.wanted().into_iter().map(|(name, body)| (name, Bytes::from(body)));
        let mut wanted: BTreeMap<String, Bytes> = wanted.collect();
        // What the tree has under a foreign name is the tree's.
        for (name, body) in &self.foreign {
            wanted.entry(name.clone()).or_insert_with(|| body.clone());
        }
        let mut wrong = Vec::new();
        for (name, body) in &wanted {
            match objects.get(&key(name)) {
                None => wrong.push(format!("{name:?} is missing")),
                Some(object) if object.body.as_ref() != Some(body) => {
                    wrong.push(format!("{name:?} differs"));
                }
                Some(_) => {}
            }
        }
        let extra = objects.keys().filter(|key| {
            let name = key.strip_prefix(PREFIX);
            // Who asks for a lease asks after its object, too.
            !name.is_some_and(|name| wanted.contains_key(name) || name.starts_with(LEASE))
        });
        wrong.extend(extra.map(|key| format!("{key:?} is there")));
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(SHOWN_MAX);
        Err(format!("{count} differences: {}", wrong.join(", ")))
    }

    /// Waits until the bucket holds exactly what the tree does.
    pub(crate) fn wait_until_equal(&self) {
        eventually("the bucket equals the tree", || self.difference());
    }

    /// Waits until the bucket equals the tree, and nothing is left that the daemon would do by itself.
    pub(crate) fn wait_until_done(&self) {
        self.wait_until_equal();
        eventually("nothing waits", || {
            let mut waiting = record::waiting(&self.readable_state()?)?;
            waiting.retain(|row| row.parked.is_none());
            if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}")) }
        });
    }

    /// Waits until `name` has this content in the bucket.
    pub(crate) fn wait_for_object(&self, name: &str, content: impl AsRef<[u8]>) {
        eventually(&format!("the object of {name:?}"), || match self.object(name) {
            None => Err("it is missing".to_owned()),
            Some(body) if body != content.as_ref() => Err(format!("it has {} bytes", body.len())),
            Some(_) => Ok(()),
        });
    }

    /// Writes a file and waits for it: what came before it was seen as well.
    pub(crate) fn pass_a_marker(&self, name: &str) {
        self.tree.write(name, name);
        self.wait_for_object(name, name);
    }
}

/// What the objects of leases are called.
pub(crate) const LEASE: &str = ".file-sync-service.lease";

/// The key of a name in the tree.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn variable(key: &str) -> String {
    format!("FILE_SYNC__{}", key.to_uppercase())
}

/// Moves all in `from` into a new directory `to`, as a restored copy would be made.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
