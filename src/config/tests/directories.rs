//! Tests of directories and files that must not overlap.

use super::*;

#[test]
fn reports_directories_that_overlap() {
    let inside = Desk::new("watch_path: data\ns3_bucket: my-bucket\nstate_dir: data/state\n");
    assert_eq!(
        inside.reported(),
        "1 problem in the configuration:\n  \
         config.yml:3: state_dir: \"/desk/data/state\" lies inside watch_path \"/desk/data\", \
         so it would be mirrored; write a directory outside, on a volume that survives"
    );
    let around = Desk::new("watch_path: state/data\ns3_bucket: my-bucket\nstate_dir: state\n");
    assert_eq!(
        around.reported(),
        "1 problem in the configuration:\n  \
         config.yml:3: state_dir: \"/desk/state\" holds watch_path \"/desk/state/data\"; \
         write a directory of its own"
    );
    for key in ["status_file", "termination_message_path"] {
        let reported = Desk::new(&format!(
            "watch_path: data\ns3_bucket: my-bucket\nstate_dir: state\n{key}: data/x\n"
        ))
        .reported();
        assert!(
            reported.contains(&format!("{key}: \"/desk/data/x\" lies inside watch_path")),
            "{reported}"
        );
    }
    let fallback = Desk::new("watch_path: .\ns3_bucket: my-bucket\n");
    assert_eq!(
        fallback.reported(),
        "1 problem in the configuration:\n  \
         state_dir: \"/desk/.file-sync-service\" lies inside watch_path \"/desk\", \
         so it would be mirrored; write a directory outside, on a volume that survives"
    );
    let queue =
        Desk::new("watch_path: data\ns3_bucket: my-bucket\nretry_file: ../data/queue.json\n");
    assert_eq!(
        queue.reported(),
        "1 problem in the configuration:\n  \
         config.yml:3: retry_file: \"/desk/.file-sync-service/../data/queue.json\" lies inside \
         watch_path \"/desk/data\", so it would be mirrored; write a path outside, or leave it out"
    );
}
