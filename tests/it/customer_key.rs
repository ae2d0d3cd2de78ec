//! `s3_sse_customer_key_file`: a key that the store does not keep goes with every request that needs it.

use crate::harness::World;
use crate::ownership::everything_is_mirrored;
use file_sync_dev_s3::{BUCKET, Options, StoreMode};
use std::fs;

const KEY: &[u8; 32] = b"a key of 32 bytes for tests only";
/// The same as headers have it.
const KEY_BASE64: &str = "YSBrZXkgb2YgMzIgYnl0ZXMgZm9yIHRlc3RzIG9ubHk=";

fn world() -> World {
    let modes = [StoreMode::DemandsCustomerKey].into();
    let mut world = World::with(&Options { modes, ..Options::default() });
    let file = world.sibling_path("customer.key");
    fs::write(&file, KEY).expect("written");
    world.set("s3_sse_customer_key_file", &file.to_string_lossy());
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world
}

#[test]
fn every_request_about_content_has_the_key_and_no_log_line_has_it() {
    let mut world = world();
    world.set("s3_lease_seconds", "60");
    world.set("s3_probe", "true");
    world.set("refresh_metadata", "true");
    world.set("log_level", "info,aws_smithy_runtime=trace,aws_smithy_runtime_api=trace");
    let ended = everything_is_mirrored(&world);
    for name in ["small", "large", "moved away"] {
        let object = world.server.store().object(BUCKET, &format!("m/{name}")).expect(name);
        assert!(object.headers.customer_key_md5.is_some(), "{name}");
    }
    let said = format!("{ended:?}");
    let shown = world.run(&["check-config"]).output;
    assert!(said.contains("TRACE"), "everything is logged");
    for text in [&said, &shown] {
        assert!(!text.contains(KEY_BASE64), "the key is shown");
        assert!(!text.contains("a key of 32 bytes"), "the key is shown");
    }
    // The key reads what was written with it, also after the state was lost.
    let verified = world.run(&["verify", "--checksum"]);
    assert_eq!(verified.code, Some(0), "{}", verified.output);
    fs::remove_dir_all(world.state_dir()).expect("removed");
    // These write objects of their own.
    world.set("s3_probe", "false");
    world.set("s3_lease_seconds", "0");
    world.server.clear_requests();
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.server.count("PutObject") + world.server.count("UploadPart"), 0, "equal");
}

#[test]
fn without_its_key_nothing_is_stored() {
    let mut world = world();
    world.default_key();
    world.tree.write("file", "content");
    assert_eq!(world.once().code(), Some(75));
    assert!(world.object("file").is_none());
}

impl World {
    /// Removes the setting.
    fn default_key(&mut self) {
        self.set("s3_sse_customer_key_file", "");
    }
}
