//! What the server promises, asked for by the client the daemon uses.

mod client;
mod faults;
mod lifecycle;
mod modes;
mod multipart;
mod objects;
mod proxy;
