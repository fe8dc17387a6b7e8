//! The whole edge over real sockets, around a scripted service of calls.

mod auth;
mod hangup;
mod hostile;
mod http2;
mod log;
mod server;
mod shipped;
mod shutdown;
mod site;
mod wire;
