//! Memory under hostile answers and files: always within the documented bound.
//!
//! Each of them would otherwise be read until the machine has no memory left.

use crate::harness::{MemoryBound, World, until};
use file_sync_dev_s3::{Action, Options, RawAnswer, Rule};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An object of a listing.
const LISTED: &str = "<Contents><Key>m/a</Key><Size>1</Size><ETag>&quot;0&quot;</ETag></Contents>";
/// Bytes of what is not endless, and far more than fits.
const HUGE: u64 = 1 << 40;
/// How many files are refused with a long message: together they are more than the bound.
const REFUSED_FILES: usize = 40;
/// Bytes of a long message.
const MESSAGE_BYTES: usize = 5_000_000;
/// Bytes that are sent at once of a header without an end.
const CHUNK_BYTES: usize = 64 << 10;

fn endless_listing() -> RawAnswer {
    let document = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{LISTED}");
    RawAnswer::xml(200, document).endless(LISTED)
}

fn rule(answer: RawAnswer, operation: &'static str) -> Rule {
    Rule::new(Action::Answer(answer)).on(operation)
}

#[test]
fn an_endless_listing_stays_within_the_bound_in_daemon_and_commands() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    world.tree.write("file", "content");
    let endless = world.server.fail(rule(endless_listing(), "ListObjectsV2"));
    let daemon = world.start();
    // The second request comes after the first answer.
    bound.until(&daemon, "it is listed twice", || world.server.faults().hits(endless) > 1);
    world.server.faults().remove(endless);
    bound.until(&daemon, "the file is sent", || world.object("file").is_some());
    daemon.stop();
    world.server.fail(rule(endless_listing(), "ListObjectsV2"));
    let verified = bound.run(&world, &["verify"]);
    assert_ne!(verified.code, Some(0), "{}", verified.output);
    let empty = World::new();
    empty.server.fail(rule(endless_listing(), "ListObjectsV2"));
    let restored = bound.run(&empty, &["restore"]);
    assert_ne!(restored.code, Some(0), "{}", restored.output);
    assert_eq!(empty.tree.wanted().len(), 0);
}

#[test]
fn an_endless_answer_to_an_upload_stays_within_the_bound() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let daemon = world.start().ready();
    let error = "<Error><Code>AccessDenied</Code><Message>";
    let answers = [
        RawAnswer::xml(403, error).endless("no "),
        RawAnswer::xml(500, "<Error><Code>InternalError</Code>").endless("<More>x</More>"),
        RawAnswer::html(200).endless("<p>Back soon</p>"),
        RawAnswer::new(200).header("etag", "\"0\"").endless(" "),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let name = format!("file-{number}");
        let endless = world.server.fail(rule(answer, "PutObject"));
        world.tree.write(&name, "content");
        // The second attempt comes after the first answer.
        bound.until(&daemon, "it is tried twice", || world.server.faults().hits(endless) > 1);
        world.server.faults().remove(endless);
        bound.until(&daemon, "it arrives", || world.object(&name).is_some());
    }
    daemon.stop();
}

#[test]
fn long_messages_of_many_errors_stay_within_the_bound_and_the_report_is_short() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let report = world.sibling_path("report.json");
    world.set("retry_file", &report.to_string_lossy());
    let daemon = world.start().ready();
    let message = "no ".repeat(MESSAGE_BYTES / 3);
    let long = RawAnswer::error(400, "InvalidArgument", &message);
    let long = world.server.fail(rule(long, "PutObject"));
    world.tree.fill("folder", REFUSED_FILES);
    let reported = || fs::read_to_string(&report).unwrap_or_default();
    let names_all = |report: &str| report.matches("InvalidArgument").count() >= REFUSED_FILES;
    bound.until(&daemon, "each is refused and reported", || names_all(&reported()));
    assert!(reported().len() < REFUSED_FILES * 4_096, "{} bytes", reported().len());
    world.server.faults().remove(long);
    bound.until(&daemon, "they arrive", || world.difference().is_ok());
    daemon.stop();
}

#[test]
fn an_endless_object_stays_within_the_bound_where_content_is_read() {
    // Of a store that returns checksums, no content is read to be compared.
    let mut world = World::with(&Options { checksums: false, ..Options::default() });
    let bound = MemoryBound::for_world(&mut world);
    world.tree.write("small", "content");
    world.tree.write("large", vec![7; 17 << 20]);
    assert_eq!(world.once().code(), Some(0));
    let endless = RawAnswer::new(200)
        .header("etag", "\"0\"")
        .header("x-amz-request-id", "0000000000000RAW")
        .endless("content");
    let reads = world.server.fail(rule(endless, "GetObject"));
    let verified = bound.run(&world, &["verify", "--checksum"]);
    assert_ne!(verified.code, Some(0), "{}", verified.output);
    assert!(world.server.faults().hits(reads) > 0);
    world.tree.remove("small");
    world.tree.remove("large");
    let restored = bound.run(&world, &["restore"]);
    assert_ne!(restored.code, Some(0), "{}", restored.output);
    assert_eq!(world.tree.wanted().len(), 0, "nothing that is not whole is put in its place");
}

/// A server whose answers never come to the end of their headers.
struct EndlessHeaders {
    address: SocketAddr,
    /// Connections that the other side has closed meanwhile.
    refused: Arc<AtomicUsize>,
}

impl EndlessHeaders {
    fn start(repeated: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    // It ends by an error, when the other side closes the connection.
                    drop(answer_without_end(stream, repeated));
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, refused }
    }
}

fn answer_without_end(mut stream: TcpStream, repeated: &str) -> std::io::Result<()> {
    let mut request = [0; 1];
    stream.read_exact(&mut request)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nx-first: ")?;
    let chunk = repeated.repeat(CHUNK_BYTES / repeated.len());
    loop {
        stream.write_all(chunk.as_bytes())?;
    }
}

#[test]
fn a_header_without_an_end_stays_within_the_bound() {
    for repeated in ["a", "a\r\nx-more: "] {
        let mut world = World::new();
        let bound = MemoryBound::for_world(&mut world);
        let server = EndlessHeaders::start(repeated);
        world.variable("AWS_ENDPOINT_URL_S3", &format!("http://{}", server.address));
        let daemon = world.start();
        world.tree.write("file", "content");
        bound.until(&daemon, "two answers are refused", || {
            server.refused.load(Ordering::Relaxed) > 1
        });
        daemon.kill();
    }
}

/// A file without an end, and one whose end is far away.
fn endless_files(world: &World) -> Vec<PathBuf> {
    let huge = world.sibling_path("huge");
    let made = File::create(&huge).expect("made").set_len(HUGE);
    let mut files = vec![PathBuf::from("/dev/zero")];
    match made {
        Ok(()) => files.push(huge),
        Err(error) => println!("skipped: a file of 1 TiB: {error}"),
    }
    files
}

/// Variables and settings with the path of a file that is read whole.
const INPUT_FILES: [&str; 7] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "FILE_SYNC__S3_SSE_CUSTOMER_KEY_FILE",
];

#[test]
fn a_configuration_credentials_or_authorities_without_an_end_are_refused_within_the_bound() {
    for variable in INPUT_FILES {
        let mut world = World::new();
        let bound = MemoryBound::for_world(&mut world);
        for path in endless_files(&world) {
            world.variable(variable, &path.to_string_lossy());
            let said = bound.run(&world, &["run"]);
            let all = said.output + &said.errors;
            assert_eq!(said.code, Some(78), "{variable}={path:?}: {all}");
            assert!(all.contains(&*path.to_string_lossy()), "{variable}={path:?}: {all}");
        }
    }
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    for path in endless_files(&world) {
        let said = bound.run(&world, &["run", "--config", &path.to_string_lossy()]);
        assert_eq!(said.code, Some(78), "{path:?}: {}", said.errors);
    }
}

#[test]
fn a_token_file_of_a_profile_without_an_end_is_refused_within_the_bound() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let profiles = world.sibling_path("profiles");
    world.without_variable("AWS_ACCESS_KEY_ID");
    world.without_variable("AWS_SECRET_ACCESS_KEY");
    world.variable("AWS_CONFIG_FILE", &profiles.to_string_lossy());
    for path in endless_files(&world) {
        let path = path.to_string_lossy();
        let role = "role_arn = arn:aws:iam::111122223333:role/mirror";
        let content = format!("[default]\n{role}\nweb_identity_token_file = {path}\n");
        fs::write(&profiles, content).expect("written");
        let daemon = world.start();
        bound.until(&daemon, "the reason is logged", || {
            daemon.has(|line| {
                line.event() == "credentials.renewal_failed"
                    && line.text("error.message").contains(&*path)
            })
        });
        daemon.kill();
    }
}

#[test]
fn credentials_that_become_endless_at_work_are_refused_within_the_bound_until_they_are_replaced() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let profiles = world.sibling_path("profiles");
    let keys = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        file_sync_dev_s3::ACCESS_KEY,
        file_sync_dev_s3::SECRET_KEY
    );
    fs::write(&profiles, &keys).expect("written");
    world.without_variable("AWS_ACCESS_KEY_ID");
    world.without_variable("AWS_SECRET_ACCESS_KEY");
    world.variable("AWS_SHARED_CREDENTIALS_FILE", &profiles.to_string_lossy());
    let daemon = world.start().ready();
    world.pass_a_marker("before");
    let put = |path: &Path| {
        let new = world.sibling_path("profiles.new");
        symlink(path, &new).expect("a link");
        fs::rename(&new, &profiles).expect("renamed");
    };
    put(Path::new("/dev/zero"));
    bound.until(&daemon, "the reason is logged", || {
        daemon.has(|line| {
            line.event() == "credentials.renewal_failed"
                && line.text("error.message").contains("a device")
        })
    });
    let restored = world.sibling_path("restored");
    fs::write(&restored, &keys).expect("written");
    put(&restored);
    bound.until(&daemon, "they are read again", || {
        world.tree.write("after", "content");
        world.object("after").is_some()
    });
    daemon.stop();
}

#[test]
fn a_queue_of_another_user_stays_within_the_bound_whatever_is_in_it() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let queue = world.sibling_path("queue.json");
    world.set("retry_file", &queue.to_string_lossy());
    let entry = "{\"type\":\"upload\"},";
    let many = |mib: usize| {
        let entries = entry.repeat((mib << 20) / entry.len());
        format!("[{}]", entries.trim_end_matches(','))
    };
    for content in [many(15), many(17), format!("[{{\"type\":\"{}\"}}]", "u".repeat(15 << 20))] {
        fs::write(&queue, content).expect("written");
        let daemon = world.start();
        // A slow machine gives up before it has counted them.
        bound.until(&daemon, "it is read or refused", || {
            daemon.has(|line| {
                ["retry_file.inherited", "retry_file.unreadable"].contains(&line.event())
            })
        });
        daemon.stop();
    }
    File::create(&queue).expect("made").set_len(HUGE).expect("sparse");
    let daemon = world.start().ready();
    bound.assert_kept(&daemon);
    until("it is replaced", || fs::metadata(&queue).is_ok_and(|file| file.len() < HUGE));
    daemon.stop();
}
