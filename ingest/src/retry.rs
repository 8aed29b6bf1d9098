//! Dead letters, taken in again: what was refused may be taken by now, since its device was
//! registered or its telemetry declared.

use std::sync::Arc;

use twin_core::{DeadLetter, Principal, Readings, Receipt, Refusal};

use crate::counters::Reason;
use crate::limits::Config;
use crate::mqtt::{RuleError, Rules, Target, known_device};
use crate::payload::{Refused, decode};
use crate::recorder::Recorder;
use crate::time::{Arrivals, now_micros};

/// Takes messages in again, by the rules of the server that refused them.
#[derive(Debug)]
pub struct Retry<R> {
    rules: Rules,
    config: Config,
    recorder: Arc<R>,
}

impl<R: Recorder> Retry<R> {
    /// By the rules of this configuration, into this recorder.
    pub fn new(config: Config, recorder: Arc<R>) -> Result<Self, RuleError> {
        Ok(Self {
            rules: Rules::new(&config.realm, &config.open)?,
            config,
            recorder,
        })
    }

    /// Takes a message in as if it came now. Readings without a time of their own get that of its
    /// first arrival, so that taking it in again changes nothing.
    ///
    /// Refused again it stays the dead letter that it is, and no other is kept.
    pub async fn take(&self, letter: &DeadLetter) -> Result<Receipt, Refusal> {
        let readings = match self.readings(letter, letter.at) {
            // What was ahead of the clock then may be past by now.
            Err(refused) if refused.reason == Reason::FutureTime => {
                self.readings(letter, now_micros().max(letter.at))
            }
            readings => readings,
        };
        let readings = readings.map_err(|refused| Refusal::Invalid {
            at: refused.reason.name().to_owned(),
            reason: refused.detail,
        })?;
        self.recorder.record(readings).await
    }

    /// Its readings, by the rules of a time `now`.
    fn readings(&self, letter: &DeadLetter, now: i64) -> Result<Readings, Refused> {
        if *letter.reason == *Reason::ForeignDevice.name() {
            // Who sent it is not known any more, only that it was not the device that it names.
            let detail = "it was sent for a device by another one: no time makes that right";
            return Err(Refused::new(Reason::ForeignDevice, detail));
        }
        let kept = letter.payload.len() as u64;
        if kept < letter.size {
            let detail = format!(
                "only the first {kept} of its {} bytes were kept (MAX_LETTER_BYTES): it has to be \
                 sent again by whoever sent it",
                letter.size
            );
            return Err(Refused::new(Reason::TooLarge, detail));
        }
        let device = match self.rules.publish(&letter.topic) {
            Target::Telemetry(device) => device,
            Target::Denied(why) => return Err(Refused::new(Reason::ForeignTopic, why)),
            Target::Open => {
                let why = "its topic is one of plain messages, which are not kept";
                return Err(Refused::new(Reason::ForeignTopic, why));
            }
        };
        let (id, kind) = known_device(&*self.recorder, device)?;
        let mut readings = Vec::new();
        decode(
            &letter.payload,
            &id,
            &kind,
            &self.config.limits.payload,
            &mut Arrivals::from(letter.at),
            now,
            &mut readings,
        )?;
        Ok(Readings {
            principal: Principal::device(&id),
            readings,
        })
    }
}
