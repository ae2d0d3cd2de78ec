//! Objects of others in the bucket, which the daemon must not touch.

use crate::target::{Target, key};
use crate::versions::Versions;
use std::collections::BTreeMap;
use std::io;

/// A foreign object, within the prefix.
const NAMES: [&str; 3] = ["foreign.txt", "w0/foreign/object", "w1/a/foreign"];

/// Foreign objects in the bucket, which the daemon may not touch.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// With the number of the version.
    pub(crate) objects: BTreeMap<String, u64>,
    pub(crate) upload: (String, String),
}

impl Foreign {
    /// Puts it there.
    pub(crate) fn create(target: &Target, versions: &mut Versions) -> io::Result<Self> {
        let mut objects = BTreeMap::new();
        for name in NAMES {
            let object = target.put(&key(name), "foreign")?;
            versions.skip(object.sequence);
            objects.insert(key(name), object.sequence);
        }
        let key = key("w0/f0");
        let upload = (key.clone(), target.begin_upload(&key)?);
        Ok(Self { objects, upload })
    }
}
