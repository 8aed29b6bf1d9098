//! Earlier readings, asked of the store while an answer is written.
//!
//! # Invariants
//! - Only an answer that is written off the network's threads asks: the thread waits for the store.
//! - What is answered is of the answer's own view: no reading that arrived after it.

use tokio::runtime::Handle;
use tokio::time::timeout;
use twin_core::store::PastReading;
use twin_core::{Twin, TwinRef, View};

use super::page::Clock;
use super::plan::HistoryPlan;
use crate::error::{Code, Fault};
use crate::limits::MAX_SERIES;

/// The door to earlier readings, for one answer.
#[derive(Debug)]
pub(crate) struct History {
    twin: Twin,
    runtime: Handle,
    /// Series that were read.
    read: usize,
}

impl History {
    /// For an answer that is written on a thread that may wait.
    pub(crate) fn new(twin: Twin, runtime: Handle) -> Self {
        Self {
            twin,
            runtime,
            read: 0,
        }
    }

    /// Readings of a twin's telemetry, oldest first.
    pub(crate) fn readings(
        &mut self,
        view: &View,
        twin: TwinRef,
        telemetry: &str,
        plan: &HistoryPlan<'_>,
        clock: &Clock,
    ) -> Result<Vec<PastReading>, Fault> {
        self.read += 1;
        if self.read > MAX_SERIES {
            return Err(Fault::too_costly(format!(
                "the answer asks for the history of more than {MAX_SERIES} series (MAX_SERIES): \
                 ask for fewer twins at once"
            )));
        }
        let (ts, left) = (plan.ts.clone(), clock.left());
        let readings = self.twin.history(view, twin, telemetry, ts, plan.first);
        // Made inside the runtime, which owns the timer.
        match self
            .runtime
            .block_on(async { timeout(left, readings).await })
        {
            Ok(Ok(readings)) => Ok(readings),
            Ok(Err(error)) => Err(Fault::new(
                Code::Unavailable,
                format!("history cannot be read: {error}"),
            )),
            Err(_elapsed) => {
                clock.look();
                clock.check().map(|()| Vec::new())
            }
        }
    }
}
