//! INSERT and COMMIT; nobody is told.

use sqlx::Pool;

use super::Way;
use crate::shop::Shop;

pub(crate) struct Plain<DB: Shop> {
    pool: Pool<DB>,
}

impl<DB: Shop> Plain<DB> {
    pub(crate) fn new(pool: &Pool<DB>) -> Self {
        Self { pool: pool.clone() }
    }
}

impl<DB: Shop> Way for Plain<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin_with(DB::BEGIN).await?;
        DB::insert_order(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
