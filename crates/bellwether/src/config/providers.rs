//! `[providers.NAME]` and time limits.

use std::{path::PathBuf, time::Duration};

use gateway_core::Timeouts;
use serde::Deserialize;

use super::secret::SecretSource;

/// `[providers.NAME]`. For a shipped name everything is optional; any other needs `protocol` and `base_url`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// `openai-chat`, `anthropic-messages` or `gemini`.
    pub protocol: Option<String>,
    /// Where its API begins, version included.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: Option<SecretSource>,
    /// Several keys, used in turn.
    pub api_keys: Vec<SecretSource>,
    /// PEM file of the authority that signed its certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP/2 where it is offered.
    pub http2: Option<bool>,
    /// Most HTTP/2 connections at once.
    pub http2_connections_max: Option<usize>,
    /// `false` switches a shipped provider off.
    pub enabled: Option<bool>,
    /// Its own time limits.
    pub timeouts: TimeoutsConfig,
}

/// `[timeouts]` and `[providers.NAME.timeouts]`, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// Until the connection stands.
    pub connect_ms: Option<u64>,
    /// To the first byte of a stream.
    pub first_byte_stream_ms: Option<u64>,
    /// To the first byte of a whole answer.
    pub first_byte_whole_ms: Option<u64>,
    /// Between two chunks.
    pub between_chunks_ms: Option<u64>,
    /// The whole call.
    pub total_ms: Option<u64>,
}

impl TimeoutsConfig {
    /// These limits, with `base` where none is set.
    #[must_use]
    pub fn over(&self, base: &Timeouts) -> Timeouts {
        let or = |own: Option<u64>, base: Duration| own.map_or(base, Duration::from_millis);
        Timeouts {
            connect: or(self.connect_ms, base.connect),
            first_byte_stream: or(self.first_byte_stream_ms, base.first_byte_stream),
            first_byte_whole: or(self.first_byte_whole_ms, base.first_byte_whole),
            between_chunks: or(self.between_chunks_ms, base.between_chunks),
            total: or(self.total_ms, base.total),
        }
    }
}
