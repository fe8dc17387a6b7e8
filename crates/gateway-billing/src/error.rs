//! What can go wrong in the ledger, and what a caller is told of it.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use gateway_core::{Fault, FaultKind, Origin};

use crate::money::MoneyError;

type Source = Arc<dyn Error + Send + Sync>;

/// An error of the ledger. Cloning is cheap: one failed commit answers everybody who was in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database could not be opened or brought up to date.
    Open {
        /// The file.
        path: PathBuf,
        /// What was wrong and what to do.
        problem: Arc<str>,
        /// The cause.
        source: Option<Source>,
    },
    /// Nothing can be written now: disk full, I/O error, read-only. It heals by itself once writing works again.
    Down {
        /// What the database said.
        problem: Arc<str>,
    },
    /// Too much is waiting to be written.
    Busy,
    /// As many long readings are under way as may be at once, or one of the same account is.
    Occupied {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The ledger has been stopped.
    Stopped,
    /// A constraint of the database refused the command; nothing of it was written.
    Refused {
        /// Which, in the database's words.
        problem: Arc<str>,
    },
    /// The hold is unknown or was resolved before; nothing was written.
    NotOpen,
    /// There is no such thing.
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// How it was asked for.
        name: Arc<str>,
    },
    /// It exists already, or an idempotency key was used for something else.
    Conflict {
        /// What collides, and what to do.
        problem: Arc<str>,
    },
    /// The input is wrong.
    Invalid {
        /// The field.
        param: &'static str,
        /// What is wrong with it and what is expected.
        problem: Arc<str>,
    },
    /// An amount does not fit the ledger's range.
    Amount(MoneyError),
    /// A query failed in a way that is neither of the above.
    Database {
        /// The cause.
        source: Source,
    },
}

impl LedgerError {
    /// The input field `param` is wrong.
    pub fn invalid(param: &'static str, problem: impl Into<Arc<str>>) -> Self {
        Self::Invalid { param, problem: problem.into() }
    }

    /// `what` named `name` does not exist.
    pub fn not_found(what: &'static str, name: impl Into<Arc<str>>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    /// Something collides.
    pub fn conflict(problem: impl Into<Arc<str>>) -> Self {
        Self::Conflict { problem: problem.into() }
    }

    /// Whether trying the same again later may work.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Stopped)
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, problem, .. } => write!(f, "cannot open the ledger {}: {problem}", path.display()),
            Self::Down { problem } => write!(f, "the ledger cannot record money right now: {problem}"),
            Self::Busy => f.write_str("the ledger has too much waiting to be written"),
            Self::Occupied { .. } => f.write_str("other long readings of the ledger are under way; ask again in a moment"),
            Self::Stopped => f.write_str("the ledger is stopping"),
            Self::Refused { problem } => write!(f, "the ledger's own constraints refused it: {problem}"),
            Self::NotOpen => f.write_str("the hold is unknown or was resolved before"),
            Self::NotFound { what, name } => write!(f, "there is no {what} `{name}`"),
            Self::Conflict { problem } => f.write_str(problem),
            Self::Invalid { param, problem } => write!(f, "`{param}` {problem}"),
            Self::Amount(error) => error.fmt(f),
            Self::Database { .. } => f.write_str("the ledger's database answered with an error"),
        }
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open { source: Some(source), .. } | Self::Database { source } => Some(&**source),
            Self::Amount(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MoneyError> for LedgerError {
    fn from(error: MoneyError) -> Self {
        Self::Amount(error)
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::ConstraintViolation) => Self::Refused { problem: error.to_string().into() },
            Some(
                Code::DiskFull
                | Code::SystemIoFailure
                | Code::ReadOnly
                | Code::CannotOpen
                | Code::DatabaseBusy
                | Code::DatabaseLocked
                | Code::OutOfMemory
                | Code::FileLockingProtocolFailed,
            ) => Self::Down { problem: error.to_string().into() },
            _ => Self::Database { source: Arc::new(error) },
        }
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database { source: Arc::new(error) }
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        let fault = match &error {
            LedgerError::Open { .. } | LedgerError::Down { .. } | LedgerError::Stopped => Self::new(
                FaultKind::LedgerDown,
                Origin::Gateway,
                "the ledger cannot record money right now, so nothing is served; try again shortly",
            ),
            LedgerError::Busy => {
                Self::new(FaultKind::LedgerDown, Origin::Gateway, "the ledger has too much waiting to be written; try again shortly")
                    .with_code("ledger_busy")
            }
            LedgerError::Occupied { retry_after } => Self::new(FaultKind::Overloaded, Origin::Gateway, error.to_string())
                .with_code("readings_occupied")
                .with_retry_after(Some(*retry_after)),
            LedgerError::NotFound { .. } => Self::new(FaultKind::NotFound, Origin::Caller, error.to_string()),
            LedgerError::Conflict { .. } => Self::invalid(error.to_string()).with_code("conflict").with_status(http::StatusCode::CONFLICT),
            LedgerError::Invalid { param, .. } => Self::invalid(error.to_string()).with_param(*param),
            LedgerError::Refused { .. } | LedgerError::NotOpen | LedgerError::Amount(_) | LedgerError::Database { .. } => {
                Self::internal("the ledger refused to record this request")
            }
        };
        fault.with_source(error)
    }
}
