use proptest::prelude::*;
use serde_json::json;

use twin_core::MAX_AHEAD;

use super::*;
use crate::testing::{kind, station};

const NOW: i64 = 1_800_000_000_000_000;

/// Times may be short to read.
fn any_age() -> PayloadLimits {
    PayloadLimits {
        max_behind: Duration::MAX,
        ..PayloadLimits::default()
    }
}

fn decode_with(
    payload: &[u8],
    limits: &PayloadLimits,
) -> Result<Vec<(String, i64, Value)>, Refused> {
    let mut readings = Vec::new();
    let mut arrivals = Arrivals::new();
    let decoded = decode(
        payload,
        &station(),
        &kind(),
        limits,
        &mut arrivals,
        NOW,
        &mut readings,
    );
    if decoded.is_err() {
        assert!(readings.is_empty(), "a refused payload leaves no readings");
    }
    decoded.map(|()| {
        readings
            .into_iter()
            .map(|reading| {
                (
                    reading.telemetry.to_string(),
                    reading.ts.unwrap(),
                    reading.value,
                )
            })
            .collect()
    })
}

fn decoded(payload: &str) -> Result<Vec<(String, i64, Value)>, Refused> {
    decode_with(payload.as_bytes(), &any_age())
}

fn refused(payload: &str) -> Refused {
    decoded(payload).unwrap_err()
}

#[test]
fn the_contract_s_examples_are_read() {
    let readings = decoded(
        r#"{"schema_version": 1, "ts": 1732180000.125, "values": {"pm25": 31.4, "status": "running"}, "location": [30.06, -1.94]}"#,
    )
    .unwrap();
    let ts = 1_732_180_000_125_000;
    assert_eq!(readings[0], ("pm25".into(), ts, Value::Double(31.4)));
    assert_eq!(
        readings[1],
        ("status".into(), ts, Value::Text("running".into()))
    );
    assert_eq!(readings[2].0, "location");
    let flat = decoded(
        r#"{"tenant_id":"t","site_id":"s","machine_id":"kigali","ts":1732180000.125,"status":"running","pm25":31.4}"#,
    )
    .unwrap();
    assert_eq!(flat, [readings[1].clone(), readings[0].clone()]);
}

#[test]
fn a_pack_is_read_whole_or_not_at_all() {
    let pack = decoded(r#" [{"ts":1,"values":{"pm25":1}},{"ts":"1970-01-01T00:00:02Z","pm25":2}]"#);
    let times: Vec<_> = pack.unwrap().into_iter().map(|(_, ts, _)| ts).collect();
    assert_eq!(times, [1_000_000, 2_000_000]);
    let bad = refused(r#"[{"ts":1,"values":{"pm25":1}},{"ts":2,"values":{"pm25":"x"}}]"#);
    assert_eq!(bad.reason, Reason::WrongType);
    assert!(
        bad.detail.starts_with("message 1 of the pack: `pm25`"),
        "{}",
        bad.detail
    );
}

#[test]
fn messages_without_a_time_arrive_one_after_another() {
    let readings = decoded(r#"[{"values":{"pm25":1}},{"ts":null,"values":{"pm25":2}}]"#).unwrap();
    assert_eq!(
        readings.iter().map(|r| r.1).collect::<Vec<_>>(),
        [NOW, NOW + 1]
    );
}

#[test]
fn each_fault_has_its_reason() {
    let deep = format!("{}1{}", "[".repeat(17), "]".repeat(17));
    for (payload, reason) in [
        ("", Reason::MalformedJson),
        ("{", Reason::MalformedJson),
        ("hello", Reason::MalformedJson),
        (
            "{\"ts\":1,\"values\":{\"pm25\":1}} x",
            Reason::MalformedJson,
        ),
        ("31.4", Reason::WrongShape),
        ("[]", Reason::WrongShape),
        ("{}", Reason::WrongShape),
        ("[1]", Reason::WrongShape),
        (r#"{"values":[1]}"#, Reason::WrongShape),
        (r#"{"values":{}}"#, Reason::WrongShape),
        (
            r#"{"schema_version":2,"values":{"pm25":1}}"#,
            Reason::WrongShape,
        ),
        (r#"{"values":{"pm25":1},"valeus":{}}"#, Reason::WrongShape),
        (r#"{"values":{"pm25":1,"pm25":2}}"#, Reason::WrongShape),
        (r#"{"values":{"pm25":"31.4"}}"#, Reason::WrongType),
        (r#"{"values":{"pm25":null}}"#, Reason::WrongType),
        (r#"{"values":{"pm25":1e999}}"#, Reason::WrongType),
        (r#"{"tenant_id":1,"pm25":1}"#, Reason::WrongType),
        (r#"{"location":[200,0]}"#, Reason::WrongType),
        (r#"{"location":[30]}"#, Reason::WrongType),
        (r#"{"values":{"pm52":1}}"#, Reason::UnknownName),
        (r#"{"values":{"pm25":1},"ts":true}"#, Reason::WrongTime),
        (r#"{"values":{"pm25":1},"ts":"soon"}"#, Reason::WrongTime),
        (
            r#"{"values":{"pm25":1},"ts":1732180000125}"#,
            Reason::WrongTime,
        ),
        (r#"{"machine_id":"other","pm25":1}"#, Reason::ForeignDevice),
        (&deep, Reason::TooDeep),
    ] {
        assert_eq!(
            refused(payload).reason,
            reason,
            "{payload}: {:?}",
            refused(payload)
        );
    }
    let not_utf8 = decode_with(b"{\"pm25\xff\":1}", &PayloadLimits::default()).unwrap_err();
    assert_eq!(not_utf8.reason, Reason::MalformedJson);
}

#[test]
fn a_time_behind_the_clock_is_taken_within_its_bound_only() {
    let limits = PayloadLimits::default();
    let behind = limits.max_behind.as_micros() as i64;
    let at = |micros: i64| {
        let payload = format!(r#"{{"ts":{},"pm25":1}}"#, micros / 1_000_000);
        decode_with(payload.as_bytes(), &limits)
    };
    assert_eq!(at(NOW - behind).unwrap()[0].1, NOW - behind);
    let refused = at(NOW - behind - 1_000_000).unwrap_err();
    assert_eq!(refused.reason, Reason::PastTime);
    let refused = at(1_000_000).unwrap_err();
    assert_eq!(refused.reason, Reason::PastTime);
    for word in ["20833 days behind", "3660", "max_behind_days", "battery"] {
        assert!(refused.detail.contains(word), "{}", refused.detail);
    }
}

#[test]
fn a_time_ahead_of_the_clock_is_taken_within_its_bound_only() {
    let ahead = MAX_AHEAD.as_micros() as i64;
    let at = |micros: i64| {
        decoded(&format!(
            r#"{{"ts":{}.{:06},"pm25":1}}"#,
            micros / 1_000_000,
            micros % 1_000_000
        ))
    };
    assert_eq!(at(NOW + ahead).unwrap()[0].1, NOW + ahead);
    let refused = at(NOW + ahead + 3_600_000_000).unwrap_err();
    assert_eq!(refused.reason, Reason::FutureTime);
    for word in ["3900 s ahead", "300 s", "max_ahead_secs", "clock"] {
        assert!(refused.detail.contains(word), "{}", refused.detail);
    }
    assert_eq!(at(NOW + ahead + 1).unwrap_err().reason, Reason::FutureTime);
    let pack = format!(
        r#"[{{"ts":1,"pm25":1}},{{"ts":{},"pm25":1}}]"#,
        NOW / 1_000_000 + 86_400
    );
    assert!(decoded(&pack).unwrap_err().detail.starts_with("message 1 "));
}

#[test]
fn an_unknown_name_comes_with_a_suggestion() {
    let detail = refused(r#"{"values":{"PM2.5":1}}"#).detail;
    assert!(detail.ends_with("did you mean `pm25`?"), "{detail}");
    assert!(
        !refused(r#"{"values":{"windspeed":1}}"#)
            .detail
            .contains("did you mean")
    );
}

#[test]
fn counts_are_limited_by_name() {
    let limits = PayloadLimits {
        max_values: 2,
        max_messages: 2,
        ..PayloadLimits::default()
    };
    let members = decode_with(br#"{"ts":1,"pm25":1,"status":"running"}"#, &limits).unwrap_err();
    assert_eq!(members.reason, Reason::TooMany);
    assert!(members.detail.contains("max_values"), "{}", members.detail);
    let pack = decode_with(br#"[{"pm25":1},{"pm25":1},{"pm25":1}]"#, &limits).unwrap_err();
    assert_eq!(pack.reason, Reason::TooMany);
    assert!(pack.detail.contains("max_messages"), "{}", pack.detail);
}

#[test]
fn brackets_inside_texts_are_no_depth() {
    let text = format!(
        r#"{{"values":{{"note":"{}\"{}"}}}}"#,
        "[".repeat(40),
        "{".repeat(40)
    );
    assert_eq!(decoded(&text).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode_with(&bytes, &any_age()));
    }

    #[test]
    fn random_json_like_text_never_panics(text in r#"[\[\]{}":,a-z0-9.eE\\ -]{0,80}"#) {
        drop(decoded(&text));
    }

    #[test]
    fn canonical_and_flat_agree(
        micros in 0_i64..NOW,
        pm25 in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        status in prop::option::of("[a-z\"\\\\é]{0,8}"),
        count in any::<i32>(),
    ) {
        let ts = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let mut values = json!({ "pm25": pm25, "count": count });
        if let Some(status) = status {
            values["note"] = json!(status);
        }
        let canonical = format!(r#"{{"schema_version":1,"ts":{ts},"values":{values}}}"#);
        let mut flat = json!({ "tenant_id": "t", "site_id": "s", "machine_id": "kigali" });
        flat.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        let flat = flat.to_string();
        let flat = format!("{},\"ts\":{ts}}}", flat.strip_suffix('}').unwrap());
        let (canonical, flat) = (decoded(&canonical).unwrap(), decoded(&flat).unwrap());
        prop_assert_eq!(&canonical, &flat);
        prop_assert!(canonical.iter().all(|(_, ts, _)| *ts == micros));
        let Value::Double(read) = canonical[0].2 else { panic!("pm25 comes first") };
        prop_assert_eq!(read.to_bits(), pm25.to_bits());
    }
}
