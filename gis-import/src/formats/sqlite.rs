//! SQLite files of anyone's making, opened for reading alone.
//!
//! # Invariants
//! - Nothing is written, no journal either; a file whose last changes lie in a log beside it is refused
//!   rather than read without them.
//! - A statement that does not come to its next row within [`MAX_OPERATIONS`] of the engine is ended:
//!   a view may be a loop without end.
//! - What is in the schema runs no function that could do more than compute.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::error::FileError;
use super::{Cell, MAX_COLUMNS, MAX_FEATURE_BYTES};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Operations of the engine between two looks at how many there were.
const OPERATIONS_A_LOOK: i32 = 100_000;
/// Most operations of the engine until the next row.
const MAX_OPERATIONS: u64 = 100_000_000;
/// Most bytes of a statement, of which the schema has some.
const MAX_STATEMENT_BYTES: i32 = 1 << 20;
/// Most levels of an expression.
const MAX_EXPRESSION: i32 = 200;

const REFETCH: &str = "the file is damaged or no database of this format: fetch it again";

/// A database.
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
    /// Looks since the last row.
    looks: Arc<AtomicU64>,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let mut file = super::archive::Stream::plain(path)?;
        let mut magic = [0; 16];
        file.fill_some(&mut magic)?;
        if magic != MAGIC {
            return Err(FileError::new(
                path,
                "byte 0",
                "it does not begin as an SQLite database does",
                REFETCH,
            ));
        }
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(FileError::new(
                path,
                "",
                "some of its changes lie in a log beside it (-wal)",
                "close the program that writes it, or copy it with VACUUM INTO",
            ));
        }
        let error = |error: rusqlite::Error| {
            FileError::new(path, "", format!("cannot be opened: {error}"), REFETCH)
        };
        // Immutable: no lock, no journal, no look at a log.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri(path), flags).map_err(error)?;
        for (setting, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        ] {
            connection.set_db_config(setting, on).map_err(error)?;
        }
        let length = i32::try_from(MAX_FEATURE_BYTES).unwrap_or(i32::MAX);
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, length),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT_BYTES),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, MAX_EXPRESSION),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
        ] {
            connection.set_limit(limit, value).map_err(error)?;
        }
        let looks = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&looks);
        let most = MAX_OPERATIONS / OPERATIONS_A_LOOK as u64;
        connection
            .progress_handler(
                OPERATIONS_A_LOOK,
                Some(move || seen.fetch_add(1, Ordering::Relaxed) >= most),
            )
            .map_err(error)?;
        connection
            .execute_batch("PRAGMA query_only = ON; PRAGMA cell_size_check = ON;")
            .map_err(error)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            looks,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn error(&self, at: &str, error: &rusqlite::Error) -> FileError {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
            let reason = format!("the next row takes more than {MAX_OPERATIONS} operations");
            let help = "copy what the view gives into a table";
            return FileError::new(&self.path, at, reason, help);
        }
        FileError::new(&self.path, at, format!("cannot be read: {error}"), REFETCH)
    }

    /// Calls `take` with each row until it says that this is enough.
    pub(super) fn rows(
        &self,
        at: &str,
        statement: &str,
        parameters: &[i64],
        mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), FileError> {
        self.looks.store(0, Ordering::Relaxed);
        let mut run = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(statement)?;
            let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
            while let Some(row) = rows.next()? {
                self.looks.store(0, Ordering::Relaxed);
                if !take(row)? {
                    break;
                }
            }
            Ok(())
        };
        run().map_err(|error| self.error(at, &error))
    }

    /// The columns of a table or view, with their declared types in capitals.
    pub(super) fn columns(&self, table: &str) -> Result<Vec<(Arc<str>, String)>, FileError> {
        let mut columns = Vec::new();
        let statement = format!("PRAGMA table_info({})", quoted(table));
        self.rows(&format!("table {table}"), &statement, &[], |row| {
            let name: String = row.get(1)?;
            let kind: String = row.get::<_, Option<String>>(2)?.unwrap_or_default();
            columns.push((Arc::from(name), kind.to_ascii_uppercase()));
            Ok(columns.len() <= MAX_COLUMNS)
        })?;
        if columns.len() > MAX_COLUMNS {
            return Err(FileError::new(
                &self.path,
                format!("table {table}"),
                format!("it has more columns than the limit of {MAX_COLUMNS}"),
                "leave columns out",
            ));
        }
        Ok(columns)
    }

    /// Whether rows of a table have a number of their own: those of views and virtual tables do not.
    pub(super) fn has_rows(&self, table: &str) -> Result<bool, FileError> {
        let mut found = false;
        let statement = "SELECT name, type, sql FROM sqlite_schema";
        self.rows("sqlite_schema", statement, &[], |row| {
            let name = row.get::<_, Option<String>>(0)?.unwrap_or_default();
            let kind = row.get::<_, Option<String>>(1)?.unwrap_or_default();
            let made = row.get::<_, Option<String>>(2)?.unwrap_or_default();
            let ordinary = kind == "table" && !made.to_ascii_uppercase().contains("VIRTUAL TABLE");
            found = ordinary && name.eq_ignore_ascii_case(table);
            Ok(!found)
        })?;
        Ok(found)
    }

    /// Whether there is such a table or view.
    pub(super) fn has(&self, table: &str) -> Result<bool, FileError> {
        Ok(!self.columns(table)?.is_empty())
    }
}

/// The path as SQLite takes it with settings behind.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a text cannot fail.
            write!(uri, "%{byte:02X}").ok();
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as a cell; bytes and broken texts have no cell.
pub(super) fn cell(name: &str, value: ValueRef<'_>, declared: &str) -> Result<Cell, String> {
    Ok(match value {
        ValueRef::Integer(value @ (0 | 1)) if declared.starts_with("BOOL") => {
            Cell::Bool(value == 1)
        }
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) if value.is_finite() => Cell::Float(value),
        ValueRef::Null | ValueRef::Real(_) => Cell::Null,
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok("") => Cell::Null,
            Ok(text) => Cell::Text(text.into()),
            Err(bad) => {
                let at = bad.valid_up_to() + 1;
                return Err(format!("column `{name}`: byte {at} is not UTF-8"));
            }
        },
        ValueRef::Blob(_) => {
            return Err(format!("column `{name}` holds bytes, which are no value"));
        }
    })
}
