//! The S3 that the daemon is tortured against: the one in memory, or any other behind a proxy that
//! lets requests fail.
//!
//! # Invariants
//!
//! - The daemon speaks to a server of this program in both cases, so faults and outages are the same.
//! - What is looked at in the end is asked of the store itself, not through the proxy.

use crate::PREFIX;
use crate::remote::RemoteBucket;
use file_sync_dev_s3::{BUCKET, Change, Object, Options, Server, StoreModes};
use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::Duration;

/// Requests of a daemon that is dead end within this, however slow they are.
const PATIENCE: Duration = Duration::from_secs(20);
/// What has reached another store by then is carried out.
const CARRIED_OUT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Target {
    /// What the daemon speaks to.
    pub(crate) server: Server,
    /// The store behind it, unless it is the server itself.
    remote: Option<RemoteBucket>,
}

impl Target {
    /// The S3 in memory, with these modes on.
    pub(crate) fn in_memory(modes: StoreModes, seed: u64) -> io::Result<Self> {
        let options = Options { keep_bodies: false, modes, seed, ..Options::default() };
        Ok(Self { server: Server::start(&options)?, remote: None })
    }

    /// The store at `endpoint`, behind a proxy.
    pub(crate) fn behind_proxy(endpoint: &str, seed: u64) -> io::Result<Self> {
        let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "the endpoint has no address");
        let address = host.to_socket_addrs()?.next().ok_or_else(wrong)?;
        let server = Server::proxy(address, &Options { seed, ..Options::default() })?;
        Ok(Self { server, remote: Some(RemoteBucket::open(endpoint)?) })
    }

    /// What a daemon has to be set to for this store, beside its defaults.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        self.remote.as_ref().map_or_else(Vec::new, RemoteBucket::settings)
    }

    /// Sees what has changed in another store since.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        self.remote.as_ref().map_or(Ok(()), RemoteBucket::refresh)
    }

    /// The objects, as of the last [`refresh`](Self::refresh).
    pub(crate) fn objects(&self) -> BTreeMap<String, Arc<Object>> {
        match &self.remote {
            Some(remote) => remote.objects(),
            None => self.server.objects(BUCKET),
        }
    }

    /// What has happened after the change with this number, as far as it was seen.
    pub(crate) fn history_since(&self, sequence: u64) -> Vec<Change> {
        match &self.remote {
            Some(remote) => remote.history_since(sequence),
            None => self.server.store().history_since(BUCKET, sequence),
        }
    }

    /// The number of the last change.
    pub(crate) fn last_sequence(&self) -> u64 {
        match &self.remote {
            Some(remote) => remote.last_sequence(),
            None => self.server.store().history(BUCKET).last().map_or(0, |change| change.sequence),
        }
    }

    /// Key and id of the multipart uploads that are neither completed nor aborted.
    pub(crate) fn uploads(&self) -> Vec<(String, String)> {
        match &self.remote {
            Some(remote) => remote.uploads(),
            None => self.server.store().uploads(BUCKET),
        }
    }

    /// Waits until nothing is under way of a daemon that is dead, and looks.
    pub(crate) fn settle(&self) -> io::Result<()> {
        // A body that is read slowly is cut off with its connection; a delay ends.
        let _quiet: bool =
            self.server.wait_until(PATIENCE, |server| server.journal().in_flight() == 0);
        if self.remote.is_some() {
            std::thread::sleep(CARRIED_OUT);
        }
        self.refresh()
    }

    /// Stores an object as another client might.
    pub(crate) fn put(&self, key: &str, body: &'static str) -> io::Result<Arc<Object>> {
        match &self.remote {
            Some(remote) => remote.put(key, body),
            None => Ok(self.server.store().put(BUCKET, key, body)),
        }
    }

    /// Begins a multipart upload as another client might, and answers its id.
    pub(crate) fn begin_upload(&self, key: &str) -> io::Result<String> {
        match &self.remote {
            Some(remote) => remote.begin_upload(key),
            None => Ok(self.server.store().begin_upload(BUCKET, key)),
        }
    }
}

/// What a key is called beneath the prefix of the tree.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}/{name}")
}
