//! What objects carry beside their bytes: rules, storage class, encryption, checksums.

use crate::harness::{Daemon, World};
use file_sync_dev_s3::{Action, BUCKET, Object, Options, Rule, StoreMode};
use std::fs;
use std::sync::Arc;

const MIB: usize = 1024 * 1024;

const RULES: &str = r#"
- match: "*.html"
  cache_control: no-cache
  content_type: text/html; charset=utf-8
- match: /raw/**
  content_disposition: attachment
  content_encoding: gzip
  storage_class: ONEZONE_IA
  metadata: {made-by: a build}
  tags: {team: web + co, empty: ""}
"#;

fn world() -> World {
    let mut world = World::new();
    for (key, value) in [
        ("object_rules", RULES),
        ("s3_storage_class", "STANDARD_IA"),
        ("s3_server_side_encryption", "aws:kms"),
        ("s3_kms_key_id", "alias/mine"),
        ("multipart_threshold_mib", "5"),
        ("multipart_part_size_mib", "5"),
    ] {
        world.set(key, value);
    }
    world
}

fn run_once(world: &World) {
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
}

fn object(world: &World, name: &str) -> Arc<Object> {
    world.server.store().object(BUCKET, &format!("m/{name}")).expect(name)
}

fn assert_raw(object: &Object) {
    let headers = &object.headers;
    let text = Option::as_deref;
    assert_eq!(text(&headers.content_disposition), Some("attachment"));
    assert_eq!(text(&headers.content_encoding), Some("gzip"));
    assert_eq!(text(&headers.storage_class), Some("ONEZONE_IA"));
    assert_eq!(text(&headers.tagging), Some("team=web%20%2B%20co&empty="));
    assert_eq!(text(&headers.server_side_encryption), Some("aws:kms"));
    assert_eq!(text(&headers.kms_key_id), Some("alias/mine"));
    assert_eq!(headers.metadata.get("made-by").map(String::as_str), Some("a build"));
    assert!(headers.metadata.contains_key("mtime") && headers.metadata.contains_key("mode"));
}

#[test]
fn objects_carry_what_the_rules_say_whether_sent_whole_in_parts_or_copied() {
    let world = world();
    world.tree.write("raw/small.html", "small");
    world.tree.write("raw/large", vec![7; 6 * MIB]);
    world.tree.write("page.html", "page");
    world.tree.write("other/moved.css", "moved");
    run_once(&world);
    let page = &object(&world, "page.html").headers;
    assert_eq!(page.cache_control.as_deref(), Some("no-cache"));
    assert_eq!(page.content_type.as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(page.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(page.tagging, None);
    // The first rule holds alone.
    let small = &object(&world, "raw/small.html").headers;
    assert_eq!((small.cache_control.as_deref(), &small.tagging), (Some("no-cache"), &None));
    assert_raw(&object(&world, "raw/large"));
    world.tree.rename("other/moved.css", "raw/moved.css");
    world.server.clear_requests();
    run_once(&world);
    assert_eq!((world.server.count("CopyObject"), world.server.count("PutObject")), (1, 0));
    assert_raw(&object(&world, "raw/moved.css"));
    // The other way round, nothing of the old name's rule stays.
    world.tree.rename("raw/moved.css", "other/moved.css");
    run_once(&world);
    let moved = &object(&world, "other/moved.css").headers;
    assert_eq!(moved.tagging.as_deref().unwrap_or_default(), "");
    assert_eq!((&moved.content_encoding, moved.metadata.get("made-by")), (&None, None));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn other_rules_change_what_is_there_only_on_request_and_without_sending_it() {
    let mut world = world();
    world.tree.write("page.html", "page");
    world.tree.write("raw/small", "small");
    world.tree.write("raw/large", vec![7; 6 * MIB]);
    run_once(&world);
    world.set("object_rules", "[{match: '/raw/**', cache_control: no-store}]");
    world.server.clear_requests();
    run_once(&world);
    assert_eq!(world.server.journal().total(), 0);
    assert_raw(&object(&world, "raw/large"));
    // One answer is lost: a try that may have been carried out is asked about, and done again.
    world.server.fail(Rule::new(Action::LoseReply).on("CopyObject").times(1));
    let reapply = || {
        world.server.clear_requests();
        let ended = Daemon::spawn(world.command(&["once", "--reapply-rules"])).wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.errors);
        (world.server.count("CopyObject"), world.server.journal().total())
    };
    assert!(reapply().0 >= 3);
    for name in ["raw/small", "raw/large"] {
        let headers = &object(&world, name).headers;
        assert_eq!(headers.cache_control.as_deref(), Some("no-store"), "{name}");
        assert_eq!((&headers.content_disposition, &headers.content_encoding), (&None, &None));
        assert_eq!(headers.tagging.as_deref().unwrap_or_default(), "", "{name}");
        assert_eq!(headers.storage_class.as_deref(), Some("STANDARD_IA"), "{name}");
    }
    assert_eq!(object(&world, "page.html").headers.cache_control, None);
    assert_eq!((world.server.count("PutObject"), world.server.count("UploadPart")), (0, 0));
    assert_eq!(world.difference(), Ok(()));
    assert_eq!(reapply(), (0, 0), "all of them follow the rules");
}

#[test]
fn an_object_that_cannot_be_copied_is_sent_again_and_one_of_somebody_else_left_alone() {
    let mut world = world();
    world.tree.write("raw/archived", "archived");
    world.tree.write("raw/replaced", "replaced");
    run_once(&world);
    world.put_foreign("raw/replaced", "by another client");
    world.set("object_rules", "[]");
    let key = "m/raw/archived";
    world.server.fail(Rule::new(Action::access_denied()).on("CopyObject").key(key));
    let ended = Daemon::spawn(world.command(&["once", "--reapply-rules"])).wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(object(&world, "raw/archived").headers.content_disposition, None);
    assert_eq!(world.object("raw/replaced").as_deref(), Some(&b"by another client"[..]));
}

#[test]
fn the_store_gets_the_checksum_it_wants_and_compares_it() {
    for (algorithm, kept) in
        [("crc64nvme", "nvme"), ("crc32", "32"), ("crc32c", "32c"), ("none", "nvme")]
    {
        let mut world = world();
        world.set("s3_checksum_algorithm", algorithm);
        world.tree.write("small", "123456789");
        world.tree.write("large", vec![7; 12 * MIB]);
        run_once(&world);
        assert_eq!(world.difference(), Ok(()));
        let sums = &object(&world, "small").checksums;
        let expected = match kept {
            "32" => (&sums.checksum_crc32, "y/Q5Jg=="),
            "32c" => (&sums.checksum_crc32c, "4waSgw=="),
            _ => (&sums.checksum_crc64nvme, "rosUhgp5mIg="),
        };
        assert_eq!(expected.0.as_deref(), Some(expected.1), "{algorithm}");
        // A second look at what is unchanged sends nothing, whatever the store keeps.
        world.server.clear_requests();
        world.tree.write("small", "123456789");
        run_once(&world);
        assert_eq!(world.server.count("PutObject"), 0, "{algorithm}");
    }
}

#[test]
fn equal_objects_are_taken_over_by_their_entity_tags_where_the_store_keeps_no_checksums() {
    let modes = [StoreMode::NoChecksums].into();
    let mut world = World::with(&Options { modes, ..Options::default() });
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    let large = vec![7; 12 * MIB];
    world.tree.write("large", &large);
    run_once(&world);
    // The state is lost. The file is as new, so that its time proves nothing.
    fs::remove_dir_all(world.state_dir()).expect("removed");
    world.tree.write("large", &large);
    for name in ["one", "two"] {
        world.tree.write(name, name);
        world.put_foreign(name, name);
    }
    world.tree.write("other", "bytes");
    world.put_foreign("other", "BYTES");
    world.server.clear_requests();
    run_once(&world);
    assert_eq!(world.server.count("PutObject"), 1, "only what differs is sent");
    assert_eq!(world.server.count("CreateMultipartUpload"), 0);
    for (name, content) in
        [("one", &b"one"[..]), ("two", b"two"), ("other", b"bytes"), ("large", &large)]
    {
        assert_eq!(world.object(name).as_deref(), Some(content), "{name}");
    }
}
