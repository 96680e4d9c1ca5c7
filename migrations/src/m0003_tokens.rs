//! Tokens, by the hash of their secret. A revoked token keeps its row and its name.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tokens = Table::create()
            .table("tokens")
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("name").text().not_null().unique_key())
            .col(ColumnDef::new("secret_hash").string_len(64).not_null().unique_key())
            .col(ColumnDef::new("scopes").text().not_null())
            .col(ColumnDef::new("created_at").big_integer().not_null())
            .col(ColumnDef::new("expires_at").big_integer().null())
            .col(ColumnDef::new("revoked_at").big_integer().null())
            .take();
        manager.create_table(tokens).await
    }
}
