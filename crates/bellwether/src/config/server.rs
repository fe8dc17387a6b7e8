//! Sections about the process itself: `[server]`, `[storage]`, `[billing]`, `[routing]`, `[log]`.

use std::{fmt, net::SocketAddr, path::PathBuf};

use gateway_billing::{
    hold::ABANDON_ALLOWANCE,
    ledger::{SIGN_UP_DAYS, SIGN_UP_GRANT},
    money::Nano,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

/// `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate and key; without it the listener is plain.
    pub tls: Option<TlsConfig>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Largest request head, in bytes.
    pub header_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// A request head must be complete within so many seconds.
    pub header_read_s: u64,
    /// A request body must be complete within so many seconds.
    pub body_read_s: u64,
    /// A reader that takes nothing for so many seconds is cut off.
    pub stalled_reader_s: u64,
    /// On SIGTERM streams may finish for so many seconds, then they are settled as they stand.
    pub drain_s: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            body_bytes_max: 32 * 1_024 * 1_024,
            header_bytes_max: 64 * 1_024,
            connections_max: 10_000,
            header_read_s: 10,
            body_read_s: 60,
            stalled_reader_s: 60,
            drain_s: 30,
        }
    }
}

impl ServerConfig {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let checks = [
            ("body_bytes_max", self.body_bytes_max >= 1_024, "must be at least 1024"),
            // hyper refuses a read buffer below 8 KiB.
            ("header_bytes_max", self.header_bytes_max >= 8_192, "must be at least 8192"),
            ("connections_max", self.connections_max >= 1, "must be at least 1"),
            ("header_read_s", self.header_read_s >= 1, "must be at least 1"),
            ("body_read_s", self.body_read_s >= 1, "must be at least 1"),
            ("stalled_reader_s", self.stalled_reader_s >= 1, "must be at least 1"),
        ];
        checks.into_iter().find(|(_, ok, _)| !ok).map_or(Ok(()), |(key, _, message)| Err((key, message.to_owned())))
    }
}

/// `[server.tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// How far a commit must have travelled before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// To the disk: survives power loss.
    #[default]
    Full,
    /// To the operating system: survives the death of the process only.
    Normal,
}

/// `[storage]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// `sqlite://FILE`; a relative file is relative to the working directory.
    pub url: String,
    /// `full` or `normal`.
    pub synchronous: Synchronous,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { url: "sqlite://bellwether.db".to_owned(), synchronous: Synchronous::Full }
    }
}

impl StorageConfig {
    /// The database file.
    ///
    /// # Errors
    /// The URL is not one of SQLite's; the text says what is possible.
    pub fn sqlite_path(&self) -> Result<PathBuf, String> {
        match self.url.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.contains('?') => Ok(PathBuf::from(path)),
            _ => Err(format!("`{}` is not a database this build knows; write sqlite://FILE", self.url)),
        }
    }
}

/// `[billing]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BillingConfig {
    /// Hold the last event of an answer back until its charge is on disk.
    pub strict_settle: bool,
    /// How long a call may wait for running calls to free what they over-estimated before it is refused.
    pub admission_wait_ms: u64,
    /// Promotional credit of a new account, in dollars; `"0"` is none.
    #[serde(deserialize_with = "small_amount")]
    pub signup_grant_usd: Nano,
    /// What the callers of one key may leave unpaid in a day by hanging up before the first byte, in dollars; beyond it they
    /// pay for the input.
    #[serde(deserialize_with = "small_amount")]
    pub abandon_allowance_usd: Nano,
    /// For how many days it is valid; 0 is for ever.
    pub signup_grant_days: u32,
    /// Whether bought credit may be given an end.
    pub paid_credit_may_expire: bool,
    /// A larger credit, campaign or batch of codes waits until a second administrator confirms it; not set, none does.
    #[serde(deserialize_with = "threshold")]
    pub confirm_credits_above_usd: Option<Nano>,
    /// Whether keyed hashes of each request are kept, by which hints tell repeats; what was asked is never kept.
    pub request_facts: bool,
}

/// The longest a sign-up grant may be valid: a hundred years.
const SIGN_UP_DAYS_MAX: u32 = 36_525;

impl BillingConfig {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.signup_grant_days > SIGN_UP_DAYS_MAX {
            return Err(("signup_grant_days", format!("must be at most {SIGN_UP_DAYS_MAX}; 0 is for ever")));
        }
        Ok(())
    }
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Nano>, D::Error> {
    deserializer.deserialize_str(ThresholdText).map(Some)
}

/// As [`AmountText`], without an upper end.
struct ThresholdText;

impl Visitor<'_> for ThresholdText {
    type Value = Nano;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dollars in quotes, such as \"100\", from \"0\", above which is everything")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Nano, E> {
        text.parse().ok().filter(|above| *above >= Nano::ZERO).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Most that a new account may be given, or a key may leave unpaid in a day: whoever asks may have it, so a slip of the decimal
/// point is not a gift but a hole.
const SMALL_AMOUNT_MAX: Nano = Nano::new(1_000_000_000_000);

fn small_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nano, D::Error> {
    deserializer.deserialize_str(AmountText)
}

/// Text, so that no float ever stands between what was written and what is granted.
struct AmountText;

impl Visitor<'_> for AmountText {
    type Value = Nano;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "dollars in quotes, such as \"5\" or \"0.50\", from \"0\", which is none, to \"{}\"",
            SMALL_AMOUNT_MAX.get() / 1_000_000_000
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Nano, E> {
        let allowed = Nano::ZERO..=SMALL_AMOUNT_MAX;
        text.parse().ok().filter(|grant| allowed.contains(grant)).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl Default for BillingConfig {
    fn default() -> Self {
        Self {
            strict_settle: false,
            admission_wait_ms: 300,
            signup_grant_usd: SIGN_UP_GRANT,
            abandon_allowance_usd: ABANDON_ALLOWANCE,
            signup_grant_days: SIGN_UP_DAYS,
            paid_credit_may_expire: false,
            confirm_credits_above_usd: None,
            request_facts: true,
        }
    }
}

/// `[routing]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingConfig {
    /// Most attempts at one deployment.
    pub attempts_per_deployment: u32,
    /// Most attempts of one call.
    pub attempts_per_call: u32,
    /// First backoff; it doubles and is jittered over its whole length.
    pub backoff_ms: u64,
    /// Longest backoff.
    pub backoff_ms_max: u64,
    /// Longest `Retry-After` that is waited for; a longer one moves on to the next deployment.
    pub retry_after_s_max: u64,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self { attempts_per_deployment: 2, attempts_per_call: 6, backoff_ms: 250, backoff_ms_max: 8_000, retry_after_s_max: 5 }
    }
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,gateway_routing=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}
