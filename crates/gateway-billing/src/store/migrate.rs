//! Bringing a database to this build's schema. Migrations only add, and a file that has shipped never changes.

use std::{path::Path, sync::Arc};

use sqlx::{
    Connection as _, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::SqliteConnectOptions,
};

use crate::error::LedgerError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Applies what is missing. The caller holds the lock that keeps a second process out.
pub(super) async fn run(path: &Path) -> Result<(), LedgerError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(super::BUSY_TIMEOUT);
    let failed = |problem: String, source: Option<MigrateError>| LedgerError::Open {
        path: path.to_owned(),
        problem: problem.into(),
        source: source.map(|source| Arc::new(source) as _),
    };
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(|source| super::cannot_open(path, "it cannot be opened to bring its schema up to date", source))?;
    let migrated = MIGRATIONS.run(&mut connection).await;
    // The connection is only a helper; an error in closing it changes nothing that was migrated.
    let _ = connection.close().await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(version) => {
            failed(format!("its schema has version {version}, which is newer than this build; use the newer build"), None)
        }
        MigrateError::VersionMismatch(version) => failed(
            format!(
                "its schema version {version} is not the one this build shipped; it was made by an unreleased build and cannot be kept"
            ),
            None,
        ),
        error => failed("its schema cannot be brought up to date; check permissions and free space".to_owned(), Some(error)),
    })
}
