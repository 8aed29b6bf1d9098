//! What the service counts, in the form that Prometheus reads.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use twin_core::Twin;

use crate::error::Code;
use crate::limits::{
    MAX_BULKS, MAX_CONCURRENT_REQUESTS, MAX_LOG_READERS, MAX_SOCKETS, MAX_SUBSCRIPTIONS,
};
use crate::service::FiguresFn;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabel {
    class: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LaneLabel {
    lane: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

/// Counters of the service and a look at the twin's own.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<CodeLabel, Counter>,
    seconds: Histogram,
    refused: Counter,
    events: Counter,
    log_lines: Counter,
    log_readers_ended: Counter,
    tiles: Family<CodeLabel, Counter>,
    tile_seconds: Histogram,
    tile_dropped: Counter,
}

/// What is taken at once of what is bounded.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) room: Arc<Semaphore>,
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) subscriptions: Arc<Semaphore>,
    pub(crate) bulks: Arc<Semaphore>,
    pub(crate) log_readers: Arc<Semaphore>,
}

impl Metrics {
    pub(crate) fn new(twin: Twin, places: Places, figures: Option<FiguresFn>) -> Self {
        let requests = Family::default();
        // 50 us to 26 s.
        let seconds = Histogram::new(exponential_buckets(50e-6, 3.0, 13));
        let refused = Counter::default();
        let events = Counter::default();
        let log_lines = Counter::default();
        let log_readers_ended = Counter::default();
        let tiles = Family::default();
        // 50 us to 13 s.
        let tile_seconds = Histogram::new(exponential_buckets(50e-6, 4.0, 10));
        let tile_dropped = Counter::default();
        let mut registry = Registry::default();
        registry.register(
            "twin_graphql_requests",
            "GraphQL requests by the code of their first error, OK without one",
            requests.clone(),
        );
        registry.register(
            "twin_graphql_seconds",
            "Time from a GraphQL request to its answer",
            seconds.clone(),
        );
        registry.register(
            "twin_http_refused",
            "Requests refused for their Host or Origin, or for want of room",
            refused.clone(),
        );
        registry.register(
            "twin_subscription_events",
            "Events that subscriptions were sent",
            events.clone(),
        );
        registry.register(
            "twin_log_lines",
            "Lines that readers of /log were sent",
            log_lines.clone(),
        );
        registry.register(
            "twin_log_readers_ended",
            "Readers of /log that were ended because they did not read",
            log_readers_ended.clone(),
        );
        registry.register(
            "twin_tile_requests",
            "Requests for tiles by the code of their error, OK without one",
            tiles.clone(),
        );
        registry.register(
            "twin_tile_seconds",
            "Time from a request for a tile to its bytes, tiles that had not changed left out",
            tile_seconds.clone(),
        );
        registry.register(
            "twin_tile_dropped",
            "Twins left out of tiles for a limit or as too small to be seen",
            tile_dropped.clone(),
        );
        registry.register_collector(Box::new(TwinCollector { twin, places }));
        if let Some(figures) = figures {
            registry.register_collector(Box::new(Figures(figures)));
        }
        Self {
            registry,
            requests,
            seconds,
            refused,
            events,
            log_lines,
            log_readers_ended,
            tiles,
            tile_seconds,
            tile_dropped,
        }
    }

    /// A tile was asked for; `drawn` says how long it took and what it left out.
    pub(crate) fn tile(&self, code: Option<Code>, drawn: Option<(Duration, u64)>) {
        let code = code.map_or("OK", Code::as_str);
        self.tiles.get_or_create(&CodeLabel { code }).inc();
        if let Some((took, dropped)) = drawn {
            self.tile_seconds.observe(took.as_secs_f64());
            self.tile_dropped.inc_by(dropped);
        }
    }

    pub(crate) fn log_lines(&self, lines: u64) {
        self.log_lines.inc_by(lines);
    }

    pub(crate) fn log_reader_ended(&self) {
        self.log_readers_ended.inc();
    }

    pub(crate) fn event(&self) {
        self.events.inc();
    }

    pub(crate) fn answered(&self, codes: &[Code], took: Duration) {
        let code = codes.first().map_or("OK", |code| code.as_str());
        self.requests.get_or_create(&CodeLabel { code }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// Everything as `OpenMetrics` text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A count as gauges take it.
fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What another room counted by now: one metric.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name, without the `_total` that a counter gets.
    pub name: &'static str,
    /// What is counted, a short sentence.
    pub help: &'static str,
    /// Whether it also falls.
    pub gauge: bool,
    /// How many.
    pub values: Values,
}

/// How many of what a [`Figure`] counts.
#[derive(Clone, Debug)]
pub enum Values {
    /// All together.
    One(u64),
    /// By what this label says.
    By(&'static str, Vec<(&'static str, u64)>),
}

/// Reads another room when it is asked.
struct Figures(FiguresFn);

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for figure in (self.0)() {
            let kind = if figure.gauge {
                MetricType::Gauge
            } else {
                MetricType::Counter
            };
            let mut metric = encoder.encode_descriptor(figure.name, figure.help, None, kind)?;
            let encode = |metric: MetricEncoder<'_>, value: u64| {
                if figure.gauge {
                    ConstGauge::new(value.cast_signed()).encode(metric)
                } else {
                    ConstCounter::new(value).encode(metric)
                }
            };
            match figure.values {
                Values::One(value) => encode(metric, value)?,
                Values::By(label, values) => {
                    for (name, value) in values {
                        encode(metric.encode_family(&[(label, name)])?, value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads the twin when it is asked.
#[derive(Debug)]
struct TwinCollector {
    twin: Twin,
    places: Places,
}

impl Collector for TwinCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (counters, tended) = (self.twin.counters(), self.twin.tended());
        let counts = [
            ("twin_groups", "Groups made durable", &counters.groups),
            (
                "twin_changes",
                "Structural changes made durable",
                &counters.changes,
            ),
            ("twin_readings", "Readings made durable", &counters.readings),
            (
                "twin_readings_duplicate",
                "Readings that repeated a time",
                &counters.duplicates,
            ),
            (
                "twin_refused",
                "Commits and readings refused",
                &counters.refused,
            ),
            (
                "twin_history_rounds",
                "Times that history was tended",
                &tended.rounds,
            ),
            (
                "twin_history_failures",
                "Times that tending history failed; it is tried again",
                &tended.failures,
            ),
            (
                "twin_history_sealed",
                "Readings sealed into history",
                &tended.sealed,
            ),
            (
                "twin_history_replaced",
                "Readings that a later one of the same time replaced in history",
                &tended.replaced,
            ),
            (
                "twin_history_settled",
                "Readings brought into their day",
                &tended.settled,
            ),
            (
                "twin_history_expired",
                "Readings of days that retention had passed when they were settled",
                &tended.expired,
            ),
            (
                "twin_history_dropped",
                "Tables of history and of the logs that retention dropped",
                &tended.dropped,
            ),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count.load(Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let view = self.twin.view();
        let (waiting, limit) = self.twin.queue();
        let writes = i64::from(self.twin.stopped().is_none());
        let Places {
            room,
            sockets,
            subscriptions,
            bulks,
            log_readers,
        } = &self.places;
        let taken = |places: &Semaphore, all: usize| gauge(all - places.available_permits());
        let gauges = [
            (
                "twin_http_working",
                "Requests that are worked on, those included that nobody waits for any more and those \
                 whose answer a socket is sending",
                taken(room, MAX_CONCURRENT_REQUESTS),
            ),
            ("twin_sockets", "Open sockets", taken(sockets, MAX_SOCKETS)),
            (
                "twin_subscriptions",
                "Subscriptions under way",
                taken(subscriptions, MAX_SUBSCRIPTIONS),
            ),
            (
                "twin_bulks",
                "Bodies of /bulk that are worked on",
                taken(bulks, MAX_BULKS),
            ),
            (
                "twin_log_readers",
                "Readers of /log",
                taken(log_readers, MAX_LOG_READERS),
            ),
            (
                "twin_queue_requests",
                "Requests that wait for the committer",
                gauge(waiting),
            ),
            (
                "twin_queue_requests_limit",
                "Most requests that may wait",
                gauge(limit),
            ),
            ("twin_writes", "Whether the twin writes", writes),
            (
                "twin_log_floor",
                "Offset below which nothing can be followed any more, since the start",
                i64::try_from(tended.floor.load(Relaxed)).unwrap_or(i64::MAX),
            ),
        ];
        for (name, help, value) in gauges {
            let shown = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, shown.metric_type())?;
            shown.encode(metric)?;
        }
        let mut positions = encoder.encode_descriptor(
            "twin_position",
            "Offset that the next change gets",
            None,
            MetricType::Gauge,
        )?;
        for (lane, offset) in view.position().lanes() {
            let label = LaneLabel {
                lane: lane.to_string(),
            };
            ConstGauge::new(offset.cast_signed()).encode(positions.encode_family(&label)?)?;
        }
        let mut twins = encoder.encode_descriptor(
            "twin_twins",
            "Twins of this class, its subclasses included",
            None,
            MetricType::Gauge,
        )?;
        for class in view.ontology().classes() {
            let label = ClassLabel {
                class: class.name.to_string(),
            };
            let count = gauge(view.count(class.id));
            ConstGauge::new(count).encode(twins.encode_family(&label)?)?;
        }
        let mut relationships = encoder.encode_descriptor(
            "twin_relationships",
            "Relationships of this name",
            None,
            MetricType::Gauge,
        )?;
        for kind in view.ontology().relationships() {
            let label = NameLabel {
                name: kind.name.to_string(),
            };
            let count = gauge(view.count_relationships(kind.id));
            ConstGauge::new(count).encode(relationships.encode_family(&label)?)?;
        }
        Ok(())
    }
}
