//! The HTTP side against real sockets on loopback: limits, drops, keys, lengths, TLS, HTTP/2 and proxies.

mod answers;
mod codec;
mod house;
mod keys;
mod limits;
mod tls;
mod upstream;
mod wire;
