//! Permits whose number changes.
//!
//! # Invariants
//!
//! - At most as many permits are in use as the latest size allows, except those that were in use when it
//!   was lowered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits, of which each user takes one.
#[derive(Debug)]
pub(super) struct PermitPool {
    free: Arc<Semaphore>,
    size: Mutex<PoolSize>,
}

#[derive(Debug)]
struct PoolSize {
    /// Permits, in use or not.
    existing: usize,
    wanted: usize,
}

/// A permit in use.
#[derive(Debug)]
pub(super) struct PooledPermit {
    permit: Option<OwnedSemaphorePermit>,
    pool: Arc<PermitPool>,
}

impl PermitPool {
    pub(super) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size)),
            size: Mutex::new(PoolSize { existing: size, wanted: size }),
        })
    }

    /// Waits for a permit.
    pub(super) async fn acquire(self: &Arc<Self>) -> PooledPermit {
        // Never closed, so this is always some.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        PooledPermit { permit, pool: Arc::clone(self) }
    }

    /// Changes the number of permits. Those in use stay valid.
    pub(super) fn resize(&self, wanted: usize) {
        let mut size = self.size();
        size.wanted = wanted;
        if size.existing < wanted {
            self.free.add_permits(wanted - size.existing);
            size.existing = wanted;
        } else {
            size.existing -= self.free.forget_permits(size.existing - wanted);
        }
    }

    /// How many permits are in use.
    pub(super) fn in_use(&self) -> usize {
        let size = self.size();
        size.existing.saturating_sub(self.free.available_permits())
    }

    /// Whether no permit is free.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free.available_permits() == 0
    }

    fn size(&self) -> MutexGuard<'_, PoolSize> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PooledPermit {
    fn drop(&mut self) {
        let mut size = self.pool.size();
        if size.existing > size.wanted
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            size.existing -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn now(pool: &Arc<PermitPool>) -> Option<PooledPermit> {
        pool.acquire().now_or_never()
    }

    #[test]
    fn as_many_permits_are_given_as_the_size_allows() {
        let pool = PermitPool::new(2);
        let first = now(&pool).expect("a permit");
        let second = now(&pool).expect("another one");
        assert!(now(&pool).is_none() && pool.is_exhausted());
        pool.resize(1);
        drop(first);
        assert!(now(&pool).is_none(), "one is in use");
        drop(second);
        assert_eq!((pool.in_use(), now(&pool).is_some()), (0, true));
    }

    #[test]
    fn free_permits_are_taken_back_at_once_and_waiting_users_get_new_ones() {
        let pool = PermitPool::new(16);
        pool.resize(1);
        let first = now(&pool).expect("a permit");
        let mut waiting = Box::pin(pool.acquire());
        assert!((&mut waiting).now_or_never().is_none());
        pool.resize(2);
        let second = waiting.now_or_never().expect("a new permit");
        assert_eq!(pool.in_use(), 2);
        drop((first, second));
        assert_eq!(pool.in_use(), 0);
    }
}
