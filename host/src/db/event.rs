//! What happened to plugins.

use sea_orm::{EntityTrait, QueryOrder, QuerySelect};

use super::entities::event;
use super::{Db, Error, Millis, rows};
use crate::limits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEvent {
    pub plugin: String,
    pub digest: Option<String>,
    /// `loaded`, `refused`, …
    pub event: String,
    pub detail: String,
    pub at: Millis,
}

impl Db {
    pub async fn add_plugin_event(&self, event: &PluginEvent) -> Result<(), Error> {
        self.write("recording a plugin's event", move |transaction| async move {
            event::Entity::insert(rows::new_event(event)).exec_without_returning(&*transaction).await?;
            Ok(())
        })
        .await
    }

    /// Newest first.
    pub async fn plugin_events(&self, limit: u64) -> Result<Vec<PluginEvent>, Error> {
        self.read("listing plugin events", async {
            let found = event::Entity::find()
                .order_by_desc(event::Column::At)
                .order_by_desc(event::Column::Id)
                .limit(limit.min(limits::DB_LIST_ROWS_MAX))
                .all(&self.connection)
                .await?;
            Ok(found.into_iter().map(rows::event).collect())
        })
        .await
    }
}
