//! What happened to plugins: loaded, refused.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let events = Table::create()
            .table("plugin_events")
            .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
            .col(ColumnDef::new("plugin").text().not_null())
            .col(ColumnDef::new("digest").text().null())
            .col(ColumnDef::new("event").text().not_null())
            .col(ColumnDef::new("detail").text().not_null())
            .col(ColumnDef::new("at").big_integer().not_null())
            .take();
        manager.create_table(events).await?;
        let by_time =
            Index::create().name("plugin_events_by_time").table("plugin_events").col("at").col("id").take();
        manager.create_index(by_time).await
    }
}
