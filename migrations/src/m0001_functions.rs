//! Functions, their versions, and the notes of deploys under way.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(functions(manager.get_database_backend())).await?;
        manager.create_index(one_function_a_name()).await?;
        manager.create_table(versions()).await?;
        manager.create_index(one_version_a_number()).await?;
        manager.create_index(one_current_version()).await?;
        manager.create_index(versions_by_content()).await?;
        manager.create_table(deploy_intents()).await?;
        manager.create_index(one_intent_a_number()).await
    }
}

fn functions(backend: sea_orm::DbBackend) -> TableCreateStatement {
    // Names are paged through in the order of their bytes, whatever the server's locale is.
    let collation = match backend {
        sea_orm::DbBackend::Postgres => "COLLATE \"C\"",
        _ => "COLLATE BINARY",
    };
    let status = Expr::col("status").is_in(["init", "building", "active", "deleted"]);
    Table::create()
        .table("functions")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("name").string_len(63).not_null().extra(collation))
        .col(ColumnDef::new("status").string_len(16).not_null().check(status))
        .col(ColumnDef::new("skip_signing").boolean().not_null())
        .col(ColumnDef::new("language").text().null())
        .col(ColumnDef::new("labels").text().not_null())
        // The highest version number that a deploy was given; never given again.
        .col(ColumnDef::new("last_number").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("updated_at").big_integer().not_null())
        .take()
}

/// A function that is being deleted does not hold its name.
fn one_function_a_name() -> IndexCreateStatement {
    Index::create()
        .name("functions_name")
        .table("functions")
        .col("name")
        .unique()
        .and_where(Expr::col("status").ne("deleted"))
        .take()
}

fn versions() -> TableCreateStatement {
    Table::create()
        .table("versions")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("function_id").uuid().not_null())
        .col(ColumnDef::new("number").big_integer().not_null().check(Expr::col("number").gte(1)))
        .col(ColumnDef::new("is_current").boolean().not_null())
        .col(ColumnDef::new("content_digest").string_len(64).not_null())
        .col(ColumnDef::new("archive_digest").string_len(64).not_null())
        .col(ColumnDef::new("archive_bytes").big_integer().not_null())
        .col(ColumnDef::new("archive_key").text().not_null())
        .col(ColumnDef::new("image_tag").text().not_null())
        .col(ColumnDef::new("image_digest").text().not_null())
        .col(ColumnDef::new("language").text().not_null())
        .col(ColumnDef::new("entrypoint").text().not_null())
        .col(ColumnDef::new("contract").string_len(16).not_null())
        .col(ColumnDef::new("command").text().not_null())
        .col(ColumnDef::new("limits").text().not_null())
        .col(ColumnDef::new("labels").text().not_null())
        .col(ColumnDef::new("environment").text().not_null())
        .col(ColumnDef::new("instances").big_integer().not_null())
        .col(ColumnDef::new("public").boolean().not_null())
        .col(ColumnDef::new("plan").text().not_null())
        .col(ColumnDef::new("deployed_at").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .name("versions_function")
                .from("versions", "function_id")
                .to("functions", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn one_version_a_number() -> IndexCreateStatement {
    Index::create().name("versions_number").table("versions").col("function_id").col("number").unique().take()
}

/// The schema itself refuses a second current version of a function.
fn one_current_version() -> IndexCreateStatement {
    Index::create()
        .name("versions_current")
        .table("versions")
        .col("function_id")
        .unique()
        .and_where(Expr::col("is_current"))
        .take()
}

fn versions_by_content() -> IndexCreateStatement {
    Index::create().name("versions_content").table("versions").col("function_id").col("content_digest").take()
}

/// No foreign key, on purpose: an intent outlives a function that is deleted while its deploy is
/// under way, or nothing would name what that deploy made.
fn deploy_intents() -> TableCreateStatement {
    Table::create()
        .table("deploy_intents")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("function_id").uuid().not_null())
        .col(ColumnDef::new("number").big_integer().not_null().check(Expr::col("number").gte(1)))
        .col(ColumnDef::new("host_id").uuid().not_null())
        .col(ColumnDef::new("started_at").big_integer().not_null())
        .take()
}

fn one_intent_a_number() -> IndexCreateStatement {
    Index::create()
        .name("deploy_intents_number")
        .table("deploy_intents")
        .col("function_id")
        .col("number")
        .unique()
        .take()
}
