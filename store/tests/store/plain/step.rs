//! What may happen: steps drawn from a seed, each meaningful whatever happened before it.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use twin_core::history::{DAY_US, HOUR_US, MINUTE_US};

/// Ids there may be.
pub(super) const TWINS: u8 = 48;
/// Places a twin may be at.
pub(super) const PLACES: u8 = 6;

pub(super) const CLASSES: [&str; 3] = ["Area", "Village", "HealthFacility"];
/// Properties, each of some class; the last of none.
pub(super) const PROPERTIES: [&str; 9] = [
    "name",
    "population",
    "beds",
    "budget",
    "height",
    "open",
    "tags",
    "telephone",
    "colour",
];
/// Relationships; the last is not in the model.
pub(super) const RELATIONSHIPS: [&str; 4] = ["partOf", "locatedIn", "serves", "feeds"];

/// What a commit expects of a twin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    Nothing,
    Absent,
    /// The revision that it has.
    Current,
    /// A revision that nothing has.
    Other,
}

/// What is done to a twin's place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Stay,
    To(u8),
    Nowhere,
}

/// An operation of a commit.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Put {
        twin: u8,
        class: &'static str,
        /// A property and which value it gets: 0 clears it, 9 is one that does not fit.
        set: Vec<(&'static str, u8)>,
        to: Move,
        must_exist: bool,
        expect: Expected,
    },
    Delete {
        twin: u8,
        detach: bool,
        expect: Expected,
    },
    Relate {
        source: u8,
        name: &'static str,
        target: u8,
        /// The day; 0 clears it.
        since: Option<i32>,
        replace: bool,
        expect: Expected,
    },
    Unrelate {
        source: u8,
        name: &'static str,
        target: u8,
        expect: Expected,
    },
}

/// Readings of one call.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Every other one is of the second.
    pub(super) twins: [u8; 2],
    pub(super) telemetry: &'static str,
    /// How long ago the first was measured; without it the time of arrival counts.
    pub(super) ago: Option<i64>,
    /// Microseconds between two, negative where they come in reverse.
    pub(super) every: i64,
    pub(super) count: u8,
    /// What they say; 0 is a value that does not fit.
    pub(super) salt: u8,
}

/// What is kept of the logs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    None,
    Bytes(u64),
    Hours(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// `who`, what, and under which idempotency key: key and body make the request.
    Commit(u8, Vec<Op>, Option<u8>),
    Record(Record),
    /// Waits for everything asked so far.
    Wait,
    Advance(i64),
    Tend,
    Limit(Limit),
    /// Closes in order and opens again.
    Restart,
    /// Drops everything without closing it, and opens again.
    Drop,
    /// Holds everything against the plain nation; the number chooses what is chosen.
    Check(u32),
    /// Asks the store whether it agrees with itself.
    Verify,
}

impl Step {
    /// Whether it waits for others, to be asked together with them.
    pub(super) fn is_request(&self) -> bool {
        matches!(self, Self::Commit(..) | Self::Record(_))
    }
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        16 => Just(Expected::Nothing),
        1 => Just(Expected::Absent),
        3 => Just(Expected::Current),
        1 => Just(Expected::Other),
    ]
}

/// The class that a twin mostly has.
fn class_of(twin: u8) -> &'static str {
    CLASSES[usize::from(twin % 4).min(2)]
}

fn op() -> impl Strategy<Value = Op> {
    let twin = || 0..TWINS;
    let class =
        prop_oneof![15 => Just(None), 1 => prop::sample::select(&CLASSES[..]).prop_map(Some)];
    let set = (prop::sample::select(&PROPERTIES[..]), 0..9_u8);
    // Rarely a name or a value that is refused, or most commits would be.
    let odd = prop_oneof![40 => Just(false), 1 => Just(true)];
    let to = prop_oneof![
        12 => Just(Move::Stay),
        3 => (0..PLACES).prop_map(Move::To),
        1 => Just(Move::Nowhere),
    ];
    let must_exist = prop_oneof![2 => Just(false), 1 => Just(true)];
    let sets = prop::collection::vec(set, 0..3);
    let put = (twin(), class, sets, odd, to, must_exist, expected());
    let name = prop_oneof![
        12 => Just("partOf"),
        12 => Just("locatedIn"),
        12 => Just("serves"),
        1 => Just("feeds"),
    ];
    let since = prop_oneof![3 => Just(None), 2 => (0..5_i32).prop_map(Some)];
    let relate = (
        twin(),
        name.clone(),
        twin(),
        since,
        any::<bool>(),
        expected(),
    );
    prop_oneof![
        60 => put.prop_map(|(twin, class, mut set, odd, to, must_exist, expect)| {
            let class = class.unwrap_or_else(|| class_of(twin));
            if odd {
                set.push(("name", 9));
            } else {
                set.retain(|(name, _)| super::structure::has_property(class, name));
                set.dedup_by_key(|(name, _)| *name);
            }
            Op::Put { twin, class, set, to, must_exist, expect }
        }),
        1 => (twin(), any::<bool>(), expected())
            .prop_map(|(twin, detach, expect)| Op::Delete { twin, detach, expect }),
        16 => relate.prop_map(|(source, name, target, since, replace, expect)| {
            // Mostly a relationship that the source has.
            let name = match (name, class_of(source)) {
                ("partOf", "HealthFacility") => "locatedIn",
                ("locatedIn" | "serves", "Area" | "Village") => "partOf",
                (name, _) => name,
            };
            let since = since.filter(|_| name == "locatedIn" || source == 0);
            Op::Relate { source, name, target, since, replace, expect }
        }),
        2 => (twin(), name, twin(), expected())
            .prop_map(|(source, name, target, expect)| Op::Unrelate { source, name, target, expect }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let ago = prop_oneof![
        1 => Just(None),
        12 => (0..2 * HOUR_US).prop_map(Some),
        2 => (0..3 * DAY_US).prop_map(Some),
        1 => (-20 * MINUTE_US..0).prop_map(Some),
    ];
    let every = prop::sample::select(&[1_i64, 10, 10, 60, -10][..]);
    let count = prop_oneof![8 => 1..3_u8, 3 => 3..20_u8, 1 => 20..200_u8];
    let second = prop_oneof![4 => Just(None), 1 => (0..TWINS).prop_map(Some)];
    let telemetry = prop_oneof![30 => Just("pm25"), 10 => Just("status"), 1 => Just("pm10")];
    // Mostly a twin that has telemetry.
    let facility = prop_oneof![
        30 => (0..TWINS / 4, 2..4_u8).prop_map(|(n, class)| n * 4 + class),
        1 => 0..TWINS,
    ];
    let salt = prop_oneof![40 => 1..=255_u8, 1 => Just(0_u8)];
    (facility, second, telemetry, ago, every, count, salt).prop_map(
        |(first, second, telemetry, ago, every, count, salt)| Record {
            twins: [first, second.unwrap_or(first)],
            telemetry,
            ago,
            every: every * 1_000_000,
            count,
            salt,
        },
    )
}

/// Steps of which one in so many holds everything against the plain nation.
fn step(check_every: u32) -> impl Strategy<Value = Step> {
    let key = prop_oneof![9 => Just(None), 1 => (0..6_u8).prop_map(Some)];
    let commit = (0..2_u8, prop::collection::vec(op(), 1..4), key);
    let limit = prop_oneof![
        1 => Just(Limit::None),
        2 => (16_u64..1_024).prop_map(|kib| Limit::Bytes(kib << 10)),
        2 => (1..30_u64).prop_map(Limit::Hours),
    ];
    let often = 3 * check_every;
    prop_oneof![
        9 * often => commit.prop_map(|(who, ops, key)| Step::Commit(who, ops, key)),
        12 * often => record().prop_map(Step::Record),
        often => Just(Step::Wait),
        often / 4 => (0..10 * MINUTE_US).prop_map(Step::Advance),
        66 => any::<u32>().prop_map(Step::Check),
        66 => Just(Step::Tend),
        20 => (0..2 * DAY_US).prop_map(Step::Advance),
        16 => limit.prop_map(Step::Limit),
        16 => Just(Step::Restart),
        16 => Just(Step::Drop),
        8 => Just(Step::Verify),
    ]
}

/// So many steps of a seed; the same seed gives the same ones, and fewer are their beginning.
pub(super) fn steps(seed: u64, count: usize, check_every: u32) -> impl Iterator<Item = Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = step(check_every);
    (0..count).map(move |_| strategy.new_tree(&mut runner).unwrap().current())
}
