//! Versions: immutable but for which one is current.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::entities::{function, version};
use super::function::living;
use super::{Db, Error, FunctionRecord, Millis, rows};
use crate::model::{Contract, Labels, Limits, Plan};

/// One immutable version, as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRecord {
    pub id: Uuid,
    pub function_id: Uuid,
    /// Counts from 1; a failed deploy leaves a gap.
    pub number: u64,
    pub is_current: bool,
    /// sha-256, hex, of archive digest, configuration and plan: the same again is the same version.
    pub content_digest: String,
    /// sha-256, hex, of the normalised archive.
    pub archive_digest: String,
    pub archive_bytes: u64,
    pub archive_key: String,
    pub image_tag: String,
    pub image_digest: String,
    pub language: String,
    pub entrypoint: String,
    pub contract: Contract,
    /// The image's entrypoint and command, one after the other.
    pub command: Vec<String>,
    pub limits: Limits,
    pub labels: Labels,
    pub environment: Vec<(String, String)>,
    pub instances: u32,
    pub public: bool,
    pub plan: Plan,
    pub deployed_at: Millis,
}

impl Db {
    pub async fn version(&self, function_id: Uuid, number: u64) -> Result<Option<VersionRecord>, Error> {
        let wanted = of_living()
            .filter(version::Column::FunctionId.eq(function_id))
            .filter(version::Column::Number.eq(rows::signed(number)));
        self.one_version("looking up a version", wanted).await
    }

    pub async fn version_by_id(&self, id: Uuid) -> Result<Option<VersionRecord>, Error> {
        let wanted = of_living().filter(version::Column::Id.eq(id));
        self.one_version("looking up a version by id", wanted).await
    }

    /// The newest of that content.
    pub async fn version_by_content(
        &self,
        function_id: Uuid,
        content_digest: &str,
    ) -> Result<Option<VersionRecord>, Error> {
        let wanted = of_living()
            .filter(version::Column::FunctionId.eq(function_id))
            .filter(version::Column::ContentDigest.eq(rows::text(content_digest)))
            .order_by_desc(version::Column::Number);
        self.one_version("looking up a version by content", wanted).await
    }

    pub async fn current_version(&self, function_id: Uuid) -> Result<Option<VersionRecord>, Error> {
        let wanted = of_living()
            .filter(version::Column::FunctionId.eq(function_id))
            .filter(version::Column::IsCurrent.eq(true));
        self.one_version("looking up the current version", wanted).await
    }

    /// Newest first. Also those of a function that is being deleted: they name what is to go.
    pub async fn versions(&self, function_id: Uuid) -> Result<Vec<VersionRecord>, Error> {
        self.read("listing versions", async {
            let found = version::Entity::find()
                .filter(version::Column::FunctionId.eq(function_id))
                .order_by_desc(version::Column::Number)
                .all(&self.connection)
                .await?;
            found.into_iter().map(rows::version).collect()
        })
        .await
    }

    /// Every function that has a current version: for the catalog at start.
    pub async fn current_versions(&self) -> Result<Vec<(FunctionRecord, VersionRecord)>, Error> {
        self.read("listing current versions", async {
            let found = version::Entity::find()
                .filter(version::Column::IsCurrent.eq(true))
                .find_also_related(function::Entity)
                .filter(living())
                .order_by_asc(function::Column::Name)
                .all(&self.connection)
                .await?;
            let joined = found.into_iter().filter_map(|(version, function)| Some((function?, version)));
            joined
                .map(|(function, version)| Ok((rows::function(function)?, rows::version(version)?)))
                .collect()
        })
        .await
    }

    async fn one_version(
        &self,
        doing: &'static str,
        wanted: Select<version::Entity>,
    ) -> Result<Option<VersionRecord>, Error> {
        self.read(doing, async {
            let found = wanted.limit(1).one(&self.connection).await?;
            found.map(rows::version).transpose()
        })
        .await
    }
}

fn of_living() -> Select<version::Entity> {
    version::Entity::find().inner_join(function::Entity).filter(living())
}
