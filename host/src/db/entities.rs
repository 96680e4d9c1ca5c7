//! The tables as sea-orm sees them. Nothing outside `db` sees a row: `rows` converts them.

pub(super) mod function {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "functions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub status: String,
        pub skip_signing: bool,
        pub language: Option<String>,
        pub labels: String,
        pub last_number: i64,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(has_many = "super::version::Entity")]
        Versions,
    }

    impl Related<super::version::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Versions.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod version {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "versions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub function_id: Uuid,
        pub number: i64,
        pub is_current: bool,
        pub content_digest: String,
        pub archive_digest: String,
        pub archive_bytes: i64,
        pub archive_key: String,
        pub image_tag: String,
        pub image_digest: String,
        pub language: String,
        pub entrypoint: String,
        pub contract: String,
        pub command: String,
        pub limits: String,
        pub labels: String,
        pub environment: String,
        pub instances: i64,
        pub public: bool,
        pub plan: String,
        pub deployed_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            belongs_to = "super::function::Entity",
            from = "Column::FunctionId",
            to = "super::function::Column::Id"
        )]
        Function,
    }

    impl Related<super::function::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Function.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod intent {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "deploy_intents")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub function_id: Uuid,
        pub number: i64,
        pub host_id: Uuid,
        pub started_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod invocation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "invocations")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub function_id: Uuid,
        pub version: i64,
        pub request_id: String,
        pub started_at: i64,
        pub wait_us: i64,
        pub run_us: i64,
        pub outcome: String,
        pub status: i32,
        pub error: Option<String>,
        pub memory_peak_bytes: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod log {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "function_logs")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub function_id: Uuid,
        pub version: Option<i64>,
        pub kind: String,
        pub invocation_id: Option<Uuid>,
        pub level: String,
        pub message: String,
        pub at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod token {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tokens")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub secret_hash: String,
        pub scopes: String,
        pub created_at: i64,
        pub expires_at: Option<i64>,
        pub revoked_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod event {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "plugin_events")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub plugin: String,
        pub digest: Option<String>,
        pub event: String,
        pub detail: String,
        pub at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
