//! Tokens, by the hash of their secret. Whether one is still good is for its reader to decide.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::entities::token;
use super::{Db, Error, Millis, rows};
use crate::clock;
use crate::model::Scope;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Millis,
    pub expires_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
}

impl Db {
    /// `secret_hash` is the sha-256, hex, of a token of 256 random bits. The same name and hash
    /// again, as when two hosts store one configured token, gives the one that exists.
    pub async fn create_token(
        &self,
        name: &str,
        secret_hash: &str,
        scopes: &[Scope],
        expires_at: Option<Millis>,
    ) -> Result<TokenRecord, Error> {
        let record = TokenRecord {
            id: rows::new_id(),
            name: rows::text(name),
            scopes: scopes.to_vec(),
            created_at: clock::now_millis(),
            expires_at,
            revoked_at: None,
        };
        let stored = &record;
        let same = self
            .write("storing a token", move |transaction| async move {
                let inserted = token::Entity::insert(rows::new_token(stored, secret_hash))
                    .on_conflict(OnConflict::new().do_nothing().to_owned())
                    .exec_without_returning(&*transaction)
                    .await?;
                if inserted > 0 {
                    return Ok(Some(stored.clone()));
                }
                let same = token::Entity::find()
                    .filter(token::Column::Name.eq(&stored.name))
                    .filter(token::Column::SecretHash.eq(secret_hash))
                    .one(&*transaction)
                    .await?;
                same.map(rows::token).transpose()
            })
            .await?;
        same.ok_or(Error::TokenExists(record.name))
    }

    pub async fn token_by_hash(&self, secret_hash: &str) -> Result<Option<TokenRecord>, Error> {
        self.read("looking up a token", async {
            let wanted = token::Entity::find().filter(token::Column::SecretHash.eq(secret_hash));
            wanted.one(&self.connection).await?.map(rows::token).transpose()
        })
        .await
    }

    /// Oldest first, also those that are revoked or expired.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        self.read("listing tokens", async {
            let all = token::Entity::find()
                .order_by_asc(token::Column::CreatedAt)
                .order_by_asc(token::Column::Id)
                .all(&self.connection)
                .await?;
            all.into_iter().map(rows::token).collect()
        })
        .await
    }

    /// `false` when there is no such token or it was revoked before.
    pub async fn revoke_token(&self, name: &str, at: Millis) -> Result<bool, Error> {
        self.write("revoking a token", move |transaction| async move {
            let revoked = token::Entity::update_many()
                .col_expr(token::Column::RevokedAt, Expr::value(at))
                .filter(token::Column::Name.eq(rows::text(name)))
                .filter(token::Column::RevokedAt.is_null())
                .exec(&*transaction)
                .await?;
            Ok(revoked.rows_affected > 0)
        })
        .await
    }
}
