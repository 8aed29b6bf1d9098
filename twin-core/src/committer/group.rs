//! A group in the making: a copy of the live twin, what was done to it, and what the store gets.
//!
//! # Invariants
//! - `work` is `base` with exactly the changes and readings of the draft applied.
//! - What the rows and edges of the finished group say is the difference of `work` to `base` at
//!   what was touched, however many changes led there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ontology::RelationshipId;

use super::apply::Attempt;
use super::{GROUP_BYTES, GROUP_ITEMS};
use crate::change::{Change, DeadLetter, EdgeWrite, Group, KeptReceipt, Recorded, RowWrite};
use crate::commit::{Idempotency, Refusal};
use crate::door::{ReadStep, Step};
use crate::id::{Position, Principal, TwinId};
use crate::live::{Latest, Live, TwinRef};

/// A relationship by its name and ends.
pub(super) type EdgeKey = (RelationshipId, TwinId, TwinId);

/// What changes touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) twins: BTreeSet<TwinId>,
    pub(super) edges: BTreeSet<EdgeKey>,
}

#[derive(Debug)]
pub(super) struct Draft {
    base: Arc<Live>,
    work: Live,
    epoch: u64,
    pub(super) at: i64,
    touched: Touched,
    changes: Vec<Change>,
    readings: Vec<Recorded>,
    recorders: Vec<(Principal, u32)>,
    receipts: Vec<KeptReceipt>,
    receipt_of: HashMap<(Principal, Arc<str>), usize>,
    dead_letters: Vec<DeadLetter>,
    /// Estimated bytes of the changes.
    bytes: usize,
}

impl Draft {
    pub(super) fn new(base: Arc<Live>, epoch: u64, at: i64) -> Self {
        let work = Live::clone(&base);
        Self {
            base,
            work,
            epoch,
            at,
            touched: Touched::default(),
            changes: Vec::new(),
            readings: Vec::new(),
            recorders: Vec::new(),
            receipts: Vec::new(),
            receipt_of: HashMap::new(),
            dead_letters: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn lane(&self) -> &Arc<str> {
        &self.base.lane
    }

    pub(super) fn position(&self) -> Position {
        Position::of(self.lane(), self.next())
    }

    fn next(&self) -> u64 {
        self.base.offset + (self.changes.len() + self.readings.len()) as u64
    }

    /// The receipt that an earlier member of this draft left under the key.
    pub(super) fn receipt(
        &self,
        principal: &Principal,
        asked: &Idempotency,
    ) -> Option<&KeptReceipt> {
        let key = (principal.clone(), Arc::clone(&asked.key));
        self.receipt_of
            .get(&key)
            .map(|index| &self.receipts[*index])
    }

    pub(super) fn keep(&mut self, principal: &Principal, idempotency: &Idempotency, changes: u64) {
        let key = (principal.clone(), Arc::clone(&idempotency.key));
        self.receipt_of.insert(key, self.receipts.len());
        self.receipts.push(KeptReceipt {
            principal: principal.clone(),
            idempotency: idempotency.clone(),
            offset: self.next(),
            changes,
            at: self.at,
        });
    }

    pub(super) fn receipts(&self) -> usize {
        self.receipts.len()
    }

    /// Takes in a message that was refused elsewhere.
    pub(super) fn bury(&mut self, letter: DeadLetter) {
        self.dead_letters.push(letter);
    }

    /// Whether it takes no further request: a small one may have made many or large changes.
    pub(super) fn is_full(&self) -> bool {
        self.changes.len() + self.readings.len() >= GROUP_ITEMS || self.bytes >= GROUP_BYTES
    }

    /// Whether a request has to wait for the next group.
    ///
    /// Readings are numbered after the group's changes. A delete that came later would stand before
    /// them, and a twin made again would inherit what was measured of the one that is gone.
    pub(super) fn must_end_before(&self, steps: &[Step]) -> bool {
        let deletes = |step: &Step| matches!(step, Step::Delete { .. });
        !self.readings.is_empty() && steps.iter().any(deletes)
    }

    /// Applies a commit whole, or not at all; answers how many changes it made.
    pub(super) fn commit(&mut self, principal: &Principal, steps: &[Step]) -> Result<u64, Refusal> {
        let first = self.base.offset + self.changes.len() as u64;
        let mut attempt = Attempt::new(&self.work, principal, first);
        for (i, step) in steps.iter().enumerate() {
            let applied = attempt.apply(step);
            applied.map_err(|refusal| refusal.of("operations", i, steps.len()))?;
        }
        let Attempt {
            live,
            touched,
            changes,
            bytes,
            ..
        } = attempt;
        self.bytes += bytes;
        let count = changes.len() as u64;
        self.work = live;
        self.touched.twins.extend(touched.twins);
        self.touched.edges.extend(touched.edges);
        self.changes.extend(changes);
        Ok(count)
    }

    /// Takes readings in, all or none.
    ///
    /// They are applied when the group is finished, because they are numbered after its changes.
    pub(super) fn record(
        &mut self,
        principal: &Principal,
        readings: &[ReadStep],
    ) -> Result<u64, Refusal> {
        for (i, reading) in readings.iter().enumerate() {
            let twin = self.work.find(reading.twin.as_str());
            if twin.is_none_or(|twin| twin.class != reading.class) {
                let refusal = Refusal::NotFound(reading.twin.clone());
                return Err(refusal.of("readings", i, readings.len()));
            }
        }
        self.readings
            .extend(readings.iter().map(|reading| Recorded {
                twin: reading.twin.clone(),
                class: reading.class,
                telemetry: reading.telemetry,
                ts: reading.ts,
                value: reading.value.clone(),
            }));
        match self.recorders.last_mut() {
            Some((last, count)) if last == principal => *count += readings.len() as u32,
            _ => self
                .recorders
                .push((principal.clone(), readings.len() as u32)),
        }
        Ok(readings.len() as u64)
    }

    /// The new state, the transaction that makes it durable, and how many readings repeat the time
    /// of the newest one.
    pub(super) fn finish(mut self) -> (Live, Group, u64) {
        let first = self.base.offset;
        let next = self.next();
        let offset = first + self.changes.len() as u64;
        let mut duplicates = 0;
        for (reading, offset) in self.readings.iter().zip(offset..) {
            if let Some(twin) = self.work.find(reading.twin.as_str()) {
                let (ts, value) = (reading.ts, reading.value.clone());
                let latest = Latest {
                    ts,
                    // The group's time, as it is stored: a restart must say the same.
                    arrived: self.at,
                    offset,
                    value,
                };
                let repeats = self.work.read(twin, reading.telemetry as usize, latest);
                duplicates += u64::from(repeats);
            }
        }
        self.work.advance(&self.base, next);
        for receipt in &mut self.receipts {
            receipt.offset = next; // What the first answer says, and every repeat of it.
        }
        let group = Group {
            lane: Arc::clone(&self.base.lane),
            epoch: self.epoch,
            first,
            next,
            at: self.at,
            rows: self.rows(),
            edges: self.edges(),
            changes: self.changes,
            readings: self.readings,
            recorders: self.recorders,
            receipts: self.receipts,
            dead_letters: self.dead_letters,
        };
        (self.work, group, duplicates)
    }

    fn rows(&self) -> Vec<RowWrite> {
        let mut rows = Vec::with_capacity(self.touched.twins.len());
        for id in &self.touched.twins {
            let before = self.base.find(id.as_str());
            let after = self.work.find(id.as_str());
            match (before, after) {
                (None, None) => {}
                (None, Some(after)) => rows.push(RowWrite::Insert(self.work.state(after))),
                (Some(before), None) => {
                    rows.push(RowWrite::Delete {
                        class: before.class,
                        id: id.clone(),
                    });
                }
                (Some(before), Some(after)) if before.class != after.class => {
                    rows.push(RowWrite::Delete {
                        class: before.class,
                        id: id.clone(),
                    });
                    rows.push(RowWrite::Insert(self.work.state(after)));
                }
                (Some(before), Some(after)) => {
                    let state = self.work.state(after);
                    let earlier = self.base.state(before);
                    if state.revision != earlier.revision {
                        let geometry = match (&state.geometry, &earlier.geometry) {
                            (None, None) => false,
                            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
                            _ => true,
                        };
                        rows.push(RowWrite::Update { state, geometry });
                    }
                }
            }
        }
        rows
    }

    fn edges(&self) -> Vec<EdgeWrite> {
        let mut edges = BTreeMap::new();
        for (relationship, source, target) in &self.touched.edges {
            let state = |live: &Live| {
                let ends = ends(live, source, target)?;
                let values = live.edges(*relationship).get(ends.0, ends.1)?;
                Some((ends, live.edge_state(*relationship, ends.0, ends.1, values)))
            };
            let key = (*relationship, source.clone(), target.clone());
            let writes = match (state(&self.base), state(&self.work)) {
                (None, None) => continue,
                (None, Some((_, after))) => vec![EdgeWrite::Insert(after)],
                (Some((_, before)), None) => vec![EdgeWrite::Delete(before)],
                (Some((was, before)), Some((is, after))) => {
                    if was.0.class != is.0.class || was.1.class != is.1.class {
                        vec![EdgeWrite::Delete(before), EdgeWrite::Insert(after)]
                    } else if before.values == after.values {
                        continue;
                    } else {
                        vec![EdgeWrite::Update(after)]
                    }
                }
            };
            edges.insert(key, writes);
        }
        edges.into_values().flatten().collect()
    }
}

fn ends(live: &Live, source: &TwinId, target: &TwinId) -> Option<(TwinRef, TwinRef)> {
    Some((live.find(source.as_str())?, live.find(target.as_str())?))
}
