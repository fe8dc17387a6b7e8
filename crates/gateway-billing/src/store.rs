//! The database: opening it, its schema, and reading from it.
//!
//! One process owns a database at a time, by a lock on `<database>.lock` that the operating system drops when the
//! process dies. The journal's thread owns the only connection that writes; everyone else reads through [`Store::reader`],
//! whose connections cannot write.

mod migrate;

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::error::LedgerError;

/// Marks a SQLite file as a ledger of this project (`PRAGMA application_id`): "BWLR".
const APPLICATION_ID: i32 = 0x4257_4C52;

/// How long a statement waits for a lock that another process (a backup, a shell) holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Power loss: every group commit is flushed to the disk.
    #[default]
    Full,
    /// The death of the process, but perhaps not of the machine.
    Normal,
}

/// Where the database is and how it is kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file; it is made if it does not exist.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// Most connections of the read pool.
    pub readers: u32,
}

impl StoreOptions {
    /// A database at `path` with the safe settings.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), durability: Durability::Full, readers: 4 }
    }

    /// Reads a `sqlite://…` URL, or a plain path.
    ///
    /// # Errors
    /// Another scheme, or no path: the ledger needs a file that outlives the process.
    pub fn from_url(url: &str) -> Result<Self, LedgerError> {
        let path = match url.split_once("://") {
            Some(("sqlite", path)) => path,
            Some((scheme, _)) => {
                return Err(LedgerError::invalid(
                    "storage.url",
                    format!("has the scheme `{scheme}`; this build keeps its ledger in SQLite: `sqlite://bellwether.db`"),
                ));
            }
            None => url.strip_prefix("sqlite:").unwrap_or(url),
        };
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if path.is_empty() || path == ":memory:" {
            return Err(LedgerError::invalid("storage.url", "names no file; money must outlive the process: `sqlite://bellwether.db`"));
        }
        Ok(Self::at(path))
    }
}

/// An open database.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    pool: SqlitePool,
    // Held until the store is dropped; the operating system releases it when the process dies.
    _lock: File,
}

impl Store {
    /// Locks, creates or upgrades the database, and returns the one connection that may write beside the store.
    ///
    /// # Errors
    /// The file is another program's, newer than this build, in use, or cannot be written; the error says which.
    pub(crate) async fn open(options: &StoreOptions) -> Result<(Self, Connection), LedgerError> {
        let path = &options.path;
        let lock = lock(path)?;
        let writer = open_writer(options)?;
        claim(&writer, path)?;
        migrate::run(path).await?;
        let connect = SqliteConnectOptions::from_str("sqlite:")
            .map_err(|source| cannot_open(path, "its path cannot be used", source))?
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("query_only", "ON");
        let pool = SqlitePoolOptions::new().max_connections(options.readers.max(1)).connect_lazy_with(connect);
        Ok((Self { path: path.clone(), pool, _lock: lock }, writer))
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections for reading; a write through them is refused by the database.
    #[must_use]
    pub fn reader(&self) -> &SqlitePool {
        &self.pool
    }
}

/// Opens a ledger's file for reading only, whether or not a gateway is running on it.
///
/// # Errors
/// There is no file, it cannot be read, or it is not a ledger.
pub fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if !path.is_file() {
        return Err(open_error(path, "there is no such file"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| cannot_open(path, "it cannot be read", source))?;
    let prepare = || -> rusqlite::Result<i32> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", "ON")?;
        connection.pragma_query_value(None, "application_id", |row| row.get(0))
    };
    match prepare() {
        Ok(APPLICATION_ID) => Ok(connection),
        Ok(_) => Err(open_error(path, "it is not a ledger of this program")),
        Err(source) => Err(cannot_open(path, "it is not a readable SQLite database", source)),
    }
}

fn lock(path: &Path) -> Result<File, LedgerError> {
    // One file may go by several names, above all through a link; they must meet in one lock. A new file has no real name
    // before it is made, and whatever is wrong with it is said when it is opened.
    drop(OpenOptions::new().create(true).append(true).open(path));
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(|source| {
        cannot_open(path, format!("its lock file {} cannot be written; check the folder and its permissions", lock_path.display()), source)
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(open_error(path, "another process has it open; stop that one first, or give this one a database of its own"))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(cannot_open(path, "it cannot be locked on this file system", source)),
    }
}

fn open_writer(options: &StoreOptions) -> Result<Connection, LedgerError> {
    let path = &options.path;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|source| cannot_open(path, "it cannot be opened for writing; check the folder and its permissions", source))?;
    if connection.is_readonly(rusqlite::MAIN_DB).unwrap_or(false) {
        return Err(open_error(
            path,
            "it is read-only; the gateway must be able to write its ledger (check permissions and mount options)",
        ));
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|source| cannot_open(path, "it cannot be set up", source))?;
    Ok(connection)
}

/// Refuses another program's database, marks an empty one as ours and sets the pragmas of the writer.
fn claim(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let read = || -> rusqlite::Result<(i32, i64)> {
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((id, tables))
    };
    let (id, tables) = read().map_err(|source| cannot_open(path, "it is not a SQLite database, or it is damaged", source))?;
    if id != APPLICATION_ID {
        if id != 0 || tables != 0 {
            return Err(open_error(path, "it holds another program's data; name a file that does not exist yet, and it will be made"));
        }
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(|source| cannot_open(path, "it cannot be written; check permissions, mount options and free space", source))?;
    }
    let set_up = || -> rusqlite::Result<()> {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        // A backstop: the writer checkpoints when it is idle.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 8_000, |_| Ok(()))?;
        // 8 MiB: the right edge of every index stays in memory, which is what the writer touches.
        connection.pragma_update(None, "cache_size", -8_192)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(())
    };
    set_up().map_err(|source| cannot_open(path, "it cannot be written; check permissions, mount options and free space", source))
}

/// Sets what a commit survives; done last, so that the schema itself is always written safely.
pub(crate) fn set_durability(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let level = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", level)
}

fn open_error(path: &Path, problem: impl Into<std::sync::Arc<str>>) -> LedgerError {
    LedgerError::Open { path: path.to_owned(), problem: problem.into(), source: None }
}

fn cannot_open(
    path: &Path,
    problem: impl Into<std::sync::Arc<str>>,
    source: impl std::error::Error + Send + Sync + 'static,
) -> LedgerError {
    LedgerError::Open { path: path.to_owned(), problem: problem.into(), source: Some(std::sync::Arc::new(source)) }
}

#[cfg(test)]
mod tests;
