//! Shipped specs and real codecs against the simulator, in process and over a socket.

mod caller;
mod conformance;
mod faults;
mod requests;
