//! Connections that a network forgets without a word while they are idle, as a NAT gateway does.

use crate::harness::{World, eventually_within, sleep_for, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A connection is forgotten after this idle time.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(1_500);
/// A request is sent again on a new connection after 5 s.
const RECOVERY: Duration = Duration::from_secs(12);

/// Forwards connections to an address, and forgets those that are idle: it swallows what comes later, and
/// closes nothing.
#[derive(Debug)]
struct ForgetfulGateway {
    address: SocketAddr,
    swallowed: Arc<AtomicUsize>,
    is_closed: Arc<AtomicBool>,
}

impl ForgetfulGateway {
    fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("bound");
        let swallowed = Arc::new(AtomicUsize::new(0));
        let is_closed = Arc::new(AtomicBool::new(false));
        let count = Arc::clone(&swallowed);
        let closed = Arc::clone(&is_closed);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                let server = TcpStream::connect(&upstream).expect("the server answers");
                let back = (server.try_clone().expect("open"), client.try_clone().expect("open"));
                std::thread::spawn(move || forward(back.0, back.1));
                let count = Arc::clone(&count);
                std::thread::spawn(move || forward_until_idle(client, server, &count));
            }
        });
        Self { address, swallowed, is_closed }
    }

    /// The number of connections whose bytes were swallowed.
    fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for ForgetfulGateway {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}

fn forward_until_idle(mut client: TcpStream, mut server: TcpStream, swallowed: &AtomicUsize) {
    let mut buffer = [0; 64 << 10];
    client.set_read_timeout(Some(FORGOTTEN_AFTER)).expect("a time");
    let is_idle = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    };
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return drop(server.shutdown(Shutdown::Write)),
            Ok(read) => match server.write_all(&buffer[..read]) {
                Ok(()) => {}
                Err(_) => return,
            },
            Err(error) if is_idle(&error) => break,
            Err(_) => return,
        }
    }
    client.set_read_timeout(None).expect("a time");
    if matches!(client.read(&mut buffer), Ok(read) if read > 0) {
        swallowed.fetch_add(1, Ordering::Relaxed);
        while matches!(client.read(&mut buffer), Ok(read) if read > 0) {}
    }
}

#[test]
fn connections_that_a_network_has_forgotten_cost_seconds_and_no_outage() {
    let mut world = World::new();
    let upstream = world.server.endpoint().trim_start_matches("http://").to_owned();
    let gateway = ForgetfulGateway::start(upstream);
    world.variable("AWS_ENDPOINT_URL_S3", &format!("http://{}", gateway.address));
    let daemon = world.start().ready();
    // Several connections at once: all of them are forgotten.
    world.tree.fill("first", 40);
    world.wait_until_done();
    let mut round = 0;
    until("a request goes out on a connection that was forgotten", || {
        round += 1;
        sleep_for(FORGOTTEN_AFTER + Duration::from_millis(500));
        let before = gateway.swallowed();
        for file in 0..6 {
            world.tree.write(format!("round{round}-{file}"), "content");
        }
        let began = file_sync_dev_s3::now();
        eventually_within(RECOVERY, "the bucket equals the tree", || world.difference());
        println!("round {round}: {:?}, {} swallowed", began.elapsed(), gateway.swallowed());
        gateway.swallowed() > before
    });
    assert!(!daemon.has(|line| line.event() == "s3.unavailable"), "a false outage");
    assert!(!daemon.has(|line| line.event() == "upload.failed"), "a false failure");
    daemon.stop();
}
