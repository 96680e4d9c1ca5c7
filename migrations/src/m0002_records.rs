//! What happened: invocations, and the lines that functions and deploys wrote.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(invocations()).await?;
        manager.create_index(invocations_by_function()).await?;
        manager.create_index(invocations_by_time()).await?;
        manager.create_table(function_logs()).await?;
        manager.create_index(logs_by_function()).await?;
        manager.create_index(logs_by_invocation()).await
    }
}

fn invocations() -> TableCreateStatement {
    Table::create()
        .table("invocations")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("function_id").uuid().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("request_id").text().not_null())
        .col(ColumnDef::new("started_at").big_integer().not_null())
        .col(ColumnDef::new("wait_us").big_integer().not_null())
        .col(ColumnDef::new("run_us").big_integer().not_null())
        .col(ColumnDef::new("outcome").text().not_null())
        .col(ColumnDef::new("status").integer().not_null())
        .col(ColumnDef::new("error").text().null())
        .col(ColumnDef::new("memory_peak_bytes").big_integer().null())
        .foreign_key(&mut of_function("invocations_function", "invocations"))
        .take()
}

fn invocations_by_function() -> IndexCreateStatement {
    Index::create()
        .name("invocations_by_function")
        .table("invocations")
        .col("function_id")
        .col("started_at")
        .col("id")
        .take()
}

/// What is too old is found by this.
fn invocations_by_time() -> IndexCreateStatement {
    Index::create().name("invocations_by_time").table("invocations").col("started_at").take()
}

/// The number tells lines of one millisecond apart: it grows in the order in which they were
/// written. An invocation's lines may outlive its row and the other way round, so no foreign key
/// joins the two.
fn function_logs() -> TableCreateStatement {
    let kind = Expr::col("kind").is_in(["invocation", "deploy"]);
    Table::create()
        .table("function_logs")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("function_id").uuid().not_null())
        .col(ColumnDef::new("version").big_integer().null())
        .col(ColumnDef::new("kind").string_len(16).not_null().check(kind))
        .col(ColumnDef::new("invocation_id").uuid().null())
        .col(ColumnDef::new("level").text().not_null())
        .col(ColumnDef::new("message").text().not_null())
        .col(ColumnDef::new("at").big_integer().not_null())
        .foreign_key(&mut of_function("function_logs_function", "function_logs"))
        .take()
}

fn logs_by_function() -> IndexCreateStatement {
    Index::create()
        .name("function_logs_by_function")
        .table("function_logs")
        .col("function_id")
        .col("at")
        .col("id")
        .take()
}

fn logs_by_invocation() -> IndexCreateStatement {
    Index::create()
        .name("function_logs_by_invocation")
        .table("function_logs")
        .col("invocation_id")
        .and_where(Expr::col("invocation_id").is_not_null())
        .take()
}

fn of_function(name: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, "function_id")
        .to("functions", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
