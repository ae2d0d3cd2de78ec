//! What the service manager (systemd) receives.

use crate::harness::{World, patience};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The socket of a service manager, and the lines that came and were not looked at.
struct Manager(UnixDatagram, VecDeque<String>);

impl Manager {
    /// Listens, and has the daemons of `world` send there.
    fn of(world: &mut World) -> Self {
        let path = world.sibling_path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(patience(Duration::from_secs(20)))).expect("a time limit");
        world.variable("NOTIFY_SOCKET", path.to_str().expect("a path"));
        Self(socket, VecDeque::new())
    }

    /// The next lines up to one that begins with `wanted`.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            while let Some(line) = self.1.pop_front() {
                lines.push(line);
                if lines.last().is_some_and(|line| line.starts_with(wanted)) {
                    return lines;
                }
            }
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{wanted} did not come ({error}), but {lines:?}");
            });
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.1.extend(message.lines().map(str::to_owned));
        }
    }
}

#[test]
fn the_service_manager_hears_of_the_start_the_state_and_the_end() {
    let mut world = World::new();
    let mut manager = Manager::of(&mut world);
    world.variable("WATCHDOG_USEC", "300000");
    world.tree.write("first", "first");
    let daemon = world.start();
    let before = manager.until("READY=1");
    assert!(!before.iter().any(|line| line == "STOPPING=1"), "{before:?}");
    manager.until("STATUS=in-sync");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    daemon.signal(Signal::TERM);
    manager.until("STOPPING=1");
    daemon.wait();
}

#[test]
fn a_directory_that_is_not_there_does_not_hold_up_the_start() {
    let mut world = World::new();
    let mut manager = Manager::of(&mut world);
    let absent = world.sibling_path("absent");
    world.set("watch_path", absent.to_str().expect("a path"));
    let daemon = world.spawn();
    manager.until("READY=1");
    let status = manager.until("STATUS=source-unavailable");
    let status = status.last().expect("a line");
    assert!(!status.contains("absent"), "no path: {status}");
    daemon.stop();
}
