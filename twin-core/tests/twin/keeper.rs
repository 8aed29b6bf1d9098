//! The keeper: what takes long does not hold up what may not wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use twin_core::history::{Settle, Tend, Tended};
use twin_core::memory::MemoryStore;
use twin_core::store::{Kept, KeptLetter, Lane, PastReading, Series, Sink, Store, StoreError};
use twin_core::{Group, Settings, Twin};

use crate::world::ontology;

/// A store whose settling does not end before it is allowed to.
#[derive(Debug)]
struct Held {
    inner: MemoryStore,
    tended: watch::Sender<u64>,
    settling: watch::Sender<u64>,
    may_end: Semaphore,
}

impl Store for Held {
    fn claim<'a>(&'a self, lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>> {
        self.inner.claim(lane)
    }

    fn commit<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.commit(group)
    }

    fn load<'a>(
        &'a self,
        now: i64,
        sink: &'a mut Sink<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.load(now, sink)
    }

    fn groups<'a>(
        &'a self,
        lane: &'a str,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>> {
        self.inner.groups(lane, from, max_bytes)
    }

    fn readings<'a>(
        &'a self,
        series: &'a Series<'a>,
    ) -> BoxFuture<'a, Result<Vec<PastReading>, StoreError>> {
        self.inner.readings(series)
    }

    fn tend<'a>(&'a self, _tend: Tend<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        async {
            self.tended.send_modify(|times| *times += 1);
            Ok(Tended::default())
        }
        .boxed()
    }

    fn settle<'a>(&'a self, _settle: Settle<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        async {
            self.settling.send_modify(|times| *times += 1);
            drop(self.may_end.acquire().await);
            Ok(Tended::default())
        }
        .boxed()
    }

    fn dead_letters<'a>(
        &'a self,
        lane: &'a str,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<KeptLetter>, StoreError>> {
        Store::dead_letters(&self.inner, lane, before, limit)
    }
}

#[tokio::test]
async fn sealing_goes_on_while_days_settle() {
    let ontology = ontology();
    let store = Arc::new(Held {
        inner: MemoryStore::new(Arc::clone(&ontology)),
        tended: watch::Sender::new(0),
        settling: watch::Sender::new(0),
        may_end: Semaphore::new(0),
    });
    let settings = Settings {
        tend_every: Some(Duration::from_millis(1)),
        ..Settings::default()
    };
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let twin = Twin::open(shared, ontology, settings).await.unwrap();
    let reach = |times: &watch::Sender<u64>, wanted: Range<u64>| {
        let mut times = times.subscribe();
        async move {
            let reached = times.wait_for(|times| wanted.contains(times));
            tokio::time::timeout(Duration::from_mins(1), reached)
                .await
                .unwrap()
                .unwrap();
        }
    };
    reach(&store.settling, 1..2).await;
    let before = *store.tended.borrow();
    reach(&store.tended, before + 3..u64::MAX).await;
    // One at a time.
    assert_eq!(*store.settling.borrow(), 1);
    store.may_end.add_permits(1);
    reach(&store.settling, 2..u64::MAX).await;
    twin.close().await;
}
