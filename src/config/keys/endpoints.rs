//! The keys of the endpoints, and of the files beside them.

use super::{DefaultValue, Key, ValueKind, key};

pub(super) const SECTION: &[&Key] = &[
    &LISTEN_ADDRESS,
    &ADMIN_ADDRESS,
    &ADMIN_SOCKET,
    &ADMIN_TOKEN_FILE,
    &STATUS_FILE_NAMES,
    &STATUS_FILE,
    &TERMINATION_MESSAGE,
];

pub(in super::super) const LISTEN_ADDRESS: Key = key(
    "listen_address",
    ValueKind::Text,
    DefaultValue::Value("[::]:9187"),
    "where `/livez`, `/startupz`, `/readyz`, `/metrics`, `/status` and the status page are; nothing there \
     changes anything; `[::]` stands for IPv4 as well; `off` for none",
);
pub(in super::super) const ADMIN_ADDRESS: Key = key(
    "admin_address",
    ValueKind::Text,
    DefaultValue::Value("localhost:9188"),
    "the same with file names, and `POST /-/flush`; what changes something needs `admin_token_file`; loopback \
     only, `localhost` stands for 127.0.0.1 and ::1; `off` for none",
);
pub(in super::super) const ADMIN_SOCKET: Key = key(
    "admin_socket",
    ValueKind::Path,
    DefaultValue::Then("`admin.sock` in `state_dir`"),
    "the Unix socket by which the commands `status`, `flush`, `queue`, `deletes`, `health` and `prestop` reach the \
     daemon; only its own user and root may use it; `off` for none",
);
pub(in super::super) const ADMIN_TOKEN_FILE: Key = key(
    "admin_token_file",
    ValueKind::Path,
    DefaultValue::Then("`admin_address` changes nothing"),
    "a file with the token, of 16 bytes at least, that requests to `admin_address` send as `Authorization: \
     Bearer` to change something; read at each of them",
);
pub(in super::super) const STATUS_FILE_NAMES: Key = key(
    "status_file_names",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether `listen_address` shows file names and settings as well",
);
pub(in super::super) const STATUS_FILE: Key = key(
    "status_file",
    ValueKind::Path,
    DefaultValue::Then("none is written"),
    "a file that holds what `/status` answers without file names, for other containers of the pod; replaced in \
     one step, at most once a second",
);
pub(in super::super) const TERMINATION_MESSAGE: Key = key(
    "termination_message_path",
    ValueKind::Path,
    DefaultValue::Value("/dev/termination-log"),
    "the file that takes the reason when the program ends with an error, and how much is left, if it is there: Kubernetes shows it",
);
