//! Streamed answers: a provider's events read, and a caller's events written.

mod blocks;
mod decoder;
mod encoder;
mod frames;
mod wire;

pub(super) use decoder::Decoder;
pub(super) use encoder::{Encoder, PING, write_interruption};
