//! Request ids: time-ordered, and told apart within a millisecond by good randomness.

use std::sync::Arc;

use gateway_core::{Clock, RequestId};
use parking_lot::Mutex;
use rustls::crypto::{SecureRandom, ring};

/// Random bytes fetched at once: one system call for fifty ids.
const POOL_BYTES: usize = 500;
const ID_BYTES: usize = 10;

/// Makes request ids (UUID version 7).
#[derive(Debug)]
pub struct RequestIds {
    clock: Arc<dyn Clock>,
    random: &'static dyn SecureRandom,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

impl RequestIds {
    /// Ids of the clock's time.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let random = ring::default_provider().secure_random;
        Self { clock, random, pool: Mutex::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) }
    }

    /// The next id, and the time it carries.
    pub fn make(&self) -> (RequestId, std::time::SystemTime) {
        let wall = self.clock.wall();
        let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        (RequestId::v7(unix_ms, self.ten_bytes()), wall)
    }

    fn ten_bytes(&self) -> [u8; ID_BYTES] {
        let mut pool = self.pool.lock();
        if pool.used + ID_BYTES > POOL_BYTES {
            if self.random.fill(&mut pool.bytes).is_err() {
                // The machine has no entropy source. An id needs to be unlike others, not unguessable.
                fastrand::fill(&mut pool.bytes);
            }
            pool.used = 0;
        }
        let mut id = [0; ID_BYTES];
        let from = pool.used;
        id.copy_from_slice(&pool.bytes[from..from + ID_BYTES]);
        pool.used += ID_BYTES;
        id
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use gateway_core::SystemClock;

    use super::RequestIds;

    #[test]
    fn ids_of_one_instant_differ() {
        let ids = RequestIds::new(Arc::new(SystemClock));
        let made: HashSet<_> = (0..1_000).map(|_| ids.make().0).collect();
        assert_eq!(made.len(), 1_000);
    }
}
