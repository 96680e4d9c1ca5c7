//! The database: the same suite on SQLite and PostgreSQL.

/// Makes an empty database on the running PostgreSQL, and gives its URL.
pub async fn own_database() -> String {
    todo!()
}
