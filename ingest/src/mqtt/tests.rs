//! The server through its socket, byte by byte, against a recorder that answers when told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use twin_core::Refusal;

use super::harness::*;
use super::*;
use crate::testing::STATION;
use crate::{Closed, Config, Reason};

#[tokio::test]
async fn a_publish_is_acknowledged_only_after_it_was_recorded() {
    for v5 in [false, true] {
        let rig = plain().await;
        rig.fake.hold();
        let mut peer = rig.connected(v5, "a").await;
        peer.publish(7, &telemetry(STATION), &pm25(1.0)).await;
        let mut held = rig.fake.held(1).await;
        peer.quiet().await;
        assert_eq!((rig.counters.in_flight(), rig.counters.accepted()), (1, 0));
        let (readings, answer) = held.remove(0);
        assert_eq!(readings.principal.as_str(), format!("device:{STATION}"));
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.acknowledged().await, (7, 0));
        assert_eq!((rig.counters.in_flight(), rig.counters.accepted()), (0, 1));
    }
}

#[tokio::test]
async fn acknowledgements_come_in_the_order_of_publishing() {
    let rig = plain().await;
    rig.fake.hold();
    let mut peer = rig.connected(false, "a").await;
    peer.publish(1, &telemetry(STATION), &pm25(1.0)).await;
    let first = rig.fake.held(1).await;
    peer.publish(2, &telemetry(OTHER), &pm25(2.0)).await;
    let second = rig.fake.held(1).await;
    peer.publish(3, &telemetry(STATION), "not json").await;
    for (_, answer) in second {
        answer.send(Ok(())).unwrap();
    }
    peer.quiet().await;
    for (_, answer) in first {
        answer.send(Ok(())).unwrap();
    }
    for packet_id in 1..=3 {
        assert_eq!(peer.acknowledged().await, (packet_id, 0));
    }
}

#[tokio::test]
async fn a_failed_commit_is_never_acknowledged() {
    for outcome in [
        Refusal::Unavailable("disk".into()),
        Refusal::OutcomeUnknown("sync".into()),
    ] {
        for v5 in [false, true] {
            let rig = plain().await;
            rig.fake.hold();
            let mut peer = rig.connected(v5, "a").await;
            peer.publish(1, &telemetry(STATION), &pm25(1.0)).await;
            for (_, answer) in rig.fake.held(1).await {
                answer.send(Err(outcome.clone())).unwrap();
            }
            if v5 {
                assert_eq!(peer.acknowledged().await, (1, 0x80));
                peer.publish(2, &telemetry(STATION), &pm25(1.0)).await;
                for (_, answer) in rig.fake.held(1).await {
                    answer.send(Ok(())).unwrap();
                }
                assert_eq!(peer.acknowledged().await, (2, 0), "the connection goes on");
            } else {
                peer.gone().await;
                rig.closed(Closed::CommitFailed, 1).await;
            }
            assert_eq!(rig.counters.failed(), 1);
            assert!(rig.fake.letters().is_empty());
        }
    }
}

#[tokio::test]
async fn after_a_failed_commit_later_messages_are_not_acknowledged_either() {
    let rig = plain().await;
    rig.fake.hold();
    let mut peer = rig.connected(false, "a").await;
    peer.publish(1, &telemetry(STATION), &pm25(1.0)).await;
    let first = rig.fake.held(1).await;
    peer.publish(2, &telemetry(OTHER), &pm25(2.0)).await;
    for (_, answer) in rig.fake.held(1).await {
        answer.send(Ok(())).unwrap();
    }
    for (_, answer) in first {
        answer
            .send(Err(Refusal::Unavailable("disk".into())))
            .unwrap();
    }
    peer.gone().await;
}

#[tokio::test]
async fn a_refused_message_leaves_its_neighbours_alone() {
    let rig = plain().await;
    let mut peer = rig.connected(true, "a").await;
    // One write, so that they share a batch.
    let mut bytes = Vec::new();
    for (packet_id, value) in [(1, 1.0), (2, CURSED), (3, 3.0)] {
        bytes.extend(publish(
            true,
            packet_id,
            &telemetry(STATION),
            pm25(value).as_bytes(),
        ));
    }
    peer.send(&bytes).await;
    for packet_id in 1..=3 {
        assert_eq!(peer.acknowledged().await, (packet_id, 0));
    }
    assert_eq!(rig.counters.accepted(), 2);
    assert_eq!(rig.fake.recorded(), 2);
    let letters = rig.fake.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload, pm25(CURSED).as_bytes());
    assert!(letters[0].detail.contains("cursed"));
}

#[tokio::test]
async fn refused_payloads_are_acknowledged_kept_and_counted() {
    let rig = start(|config| config.limits.max_payload_bytes = 1_000).await;
    let mut peer = rig.connected(false, "sensor").await;
    let long_topic = format!("demo/{}", "x".repeat(600));
    let large = format!("\"{}\"", "x".repeat(1_000));
    let cases = [
        (telemetry(STATION), "{", Reason::MalformedJson),
        (
            telemetry(STATION),
            r#"{"values":{"pm52":1}}"#,
            Reason::UnknownName,
        ),
        (
            telemetry(STATION),
            r#"{"values":{"pm25":"1"}}"#,
            Reason::WrongType,
        ),
        (
            telemetry("rw:station:404"),
            r#"{"pm25":1}"#,
            Reason::UnknownDevice,
        ),
        (telemetry("-"), r#"{"pm25":1}"#, Reason::UnknownDevice),
        (telemetry(VILLAGE), r#"{"pm25":1}"#, Reason::UnknownDevice),
        (
            "somewhere/else".to_owned(),
            r#"{"pm25":1}"#,
            Reason::ForeignTopic,
        ),
        (
            "twin/ke/x/telemetry".to_owned(),
            r#"{"pm25":1}"#,
            Reason::ForeignTopic,
        ),
        (telemetry(STATION), &large, Reason::TooLarge),
        (long_topic, "1", Reason::TopicTooLong),
    ];
    for (i, (topic, payload, reason)) in cases.iter().enumerate() {
        let packet_id = i as u16 + 1;
        let before = rig.counters.refused(*reason);
        peer.publish(packet_id, topic, payload).await;
        assert_eq!(peer.acknowledged().await, (packet_id, 0));
        assert_eq!(rig.counters.refused(*reason), before + 1, "{reason:?}");
        let letters = rig.fake.letters();
        let letter = letters.last().unwrap();
        assert_eq!(
            (&*letter.reason, &*letter.client),
            (reason.name(), "sensor")
        );
        assert_eq!(letter.payload, payload.as_bytes());
    }
    assert_eq!(rig.fake.letters().len(), cases.len());
    assert_eq!(rig.fake.recorded(), 0);
    assert_eq!(rig.counters.messages(), cases.len() as u64);
    // Of those that come together each has a time of its own, for readings that have none.
    let unknown = telemetry("rw:station:404");
    let together = 100..150;
    for packet_id in together.clone() {
        peer.publish(packet_id, &unknown, r#"{"pm25":1}"#).await;
    }
    for packet_id in together.clone() {
        assert_eq!(peer.acknowledged().await, (packet_id, 0));
    }
    let letters = rig.fake.letters();
    let times: std::collections::BTreeSet<_> = letters.iter().map(|letter| letter.at).collect();
    assert_eq!(times.len(), cases.len() + together.len());
}

#[tokio::test]
async fn at_most_once_is_recorded_even_when_the_client_leaves_at_once() {
    let rig = plain().await;
    rig.fake.hold();
    let mut peer = rig.peer(false).await;
    let mut bytes = connect(false, "a", 0);
    bytes.extend(publish(false, 0, &telemetry(STATION), pm25(1.0).as_bytes()));
    bytes.extend([0xe0, 0]);
    peer.send(&bytes).await;
    drop(peer);
    for (_, answer) in rig.fake.held(1).await {
        answer.send(Ok(())).unwrap();
    }
    rig.closed(Closed::Disconnect, 1).await;
    assert_eq!(rig.counters.accepted(), 1);
}

/// Publishes five messages at once and answers them as they come to the recorder.
async fn at_most_wait(limit: usize, change: fn(&mut Config)) {
    let rig = start(change).await;
    rig.fake.hold();
    let mut peer = rig.connected(false, "a").await;
    let mut bytes = Vec::new();
    for packet_id in 1..=5 {
        bytes.extend(publish(
            false,
            packet_id,
            &telemetry(STATION),
            pm25(1.0).as_bytes(),
        ));
    }
    peer.send(&bytes).await;
    let mut acknowledged = 0;
    while acknowledged < 5 {
        let held = rig.fake.held(1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let waiting: usize = held
            .iter()
            .map(|(readings, _)| readings.readings.len())
            .sum();
        assert!(waiting <= limit, "{waiting} wait");
        assert!(rig.counters.in_flight() <= limit as u64);
        for (_, answer) in held {
            answer.send(Ok(())).unwrap();
        }
        for _ in 0..waiting {
            acknowledged += 1;
            assert_eq!(peer.acknowledged().await, (acknowledged, 0));
        }
    }
}

#[tokio::test]
async fn reading_stops_while_as_many_wait_as_may() {
    at_most_wait(2, |config| config.limits.receive_maximum = 2).await;
    at_most_wait(1, |config| config.limits.receive_bytes = 1).await;
    at_most_wait(1, |config| config.limits.total_receive_bytes = 1).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let rig = start(|config| config.limits.drain_timeout = WHILE).await;
    rig.fake.hold();
    let mut peer = rig.connected(false, "a").await;
    peer.publish(1, &telemetry(STATION), &pm25(1.0)).await;
    let _never_answered = rig.fake.held(1).await;
    rig.stop.cancel();
    tokio::time::timeout(SOON, rig.running)
        .await
        .unwrap()
        .unwrap();
    peer.gone().await;
    assert_eq!((rig.counters.failed(), rig.counters.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_newer_connection_takes_the_client_id_over() {
    for v5 in [false, true] {
        let rig = plain().await;
        let mut old = rig.connected(v5, "same").await;
        let mut new = rig.connected(v5, "same").await;
        old.ends(0x8e).await;
        rig.closed(Closed::TakenOver, 1).await;
        new.publish(1, &telemetry(STATION), &pm25(1.0)).await;
        assert_eq!(new.acknowledged().await, (1, 0));
        // The old one's end must not have freed the id of the new one.
        let _third = rig.connected(v5, "same").await;
        new.ends(0x8e).await;
    }
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    for v5 in [false, true] {
        let rig = plain().await;
        let mut peer = rig.peer(v5).await;
        peer.send(&connect(v5, "a", 1)).await;
        peer.packet().await;
        let since = std::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(700)).await;
        peer.send(&[0xc0, 0]).await;
        assert_eq!(peer.packet().await.0, 0xd0, "PINGRESP");
        peer.ends(0x8d).await;
        assert!(
            since.elapsed() >= Duration::from_millis(2_100),
            "{:?}",
            since.elapsed()
        );
        rig.closed(Closed::KeepAlive, 1).await;
    }
}

#[tokio::test]
async fn a_connection_without_connect_is_closed() {
    let rig = start(|config| config.limits.connect_timeout = WHILE).await;
    let mut peer = rig.peer(false).await;
    peer.gone().await;
    rig.closed(Closed::ConnectTimeout, 1).await;
}

#[tokio::test]
async fn what_is_not_offered_is_said_and_refused() {
    let rig = start(|config| config.open.clear()).await;
    let mut peer = rig.peer(true).await;
    peer.send(&connect(true, "", 0)).await;
    let (_, body) = peer.packet().await;
    // Receive maximum, largest packet, and no retained messages.
    for offer in [&[0x21, 4, 0][..], &[0x27, 0, 16, 0, 0], &[0x25, 0]] {
        assert!(
            body.windows(offer.len()).any(|w| w == offer),
            "{offer:x?} in {body:x?}"
        );
    }
    let mut body = text(&telemetry(STATION));
    body.push(0);
    peer.send(&packet(0x31, &body)).await;
    peer.ends(0x9a).await;
    rig.closed(Closed::NotOffered, 1).await;

    let mut nameless = rig.peer(false).await;
    nameless.send(&connect_with(false, "", 0, 0, &[])).await;
    assert_eq!(
        nameless.packet().await,
        (0x20, vec![0, 2]),
        "a session needs a client id"
    );
    nameless.gone().await;

    // An authentication method of version 5.
    let mut props = vec![0x15];
    props.extend(text("x"));
    let mut other = rig.peer(true).await;
    other.send(&connect_props("a", true, &props)).await;
    assert_eq!(other.packet().await.1[1], 0x8c);
    other.gone().await;
}

#[tokio::test]
async fn a_packet_beyond_the_limit_ends_its_connection_only() {
    for v5 in [false, true] {
        let rig = start(|config| config.limits.max_packet_bytes = 2_000).await;
        let mut other = rig.connected(v5, "other").await;
        let mut peer = rig.connected(v5, "a").await;
        peer.send(&publish(v5, 1, &telemetry(STATION), &[b'x'; 3_000])[..200])
            .await;
        peer.ends(0x95).await;
        rig.closed(Closed::PacketTooLarge, 1).await;
        other.publish(1, &telemetry(STATION), &pm25(1.0)).await;
        assert_eq!(other.acknowledged().await, (1, 0));
    }
}

#[tokio::test]
async fn malformed_packets_end_their_connection() {
    let rig = plain().await;
    let wrong: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0x30, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', 9],
        &[0xc0, 0],
        &[0x00, 0x00],
        &publish(false, 1, "demo", b""),
        &[0x10, 0],
    ];
    for bytes in wrong {
        let mut peer = rig.peer(false).await;
        peer.send(bytes).await;
        peer.gone().await;
    }
    for bytes in [
        &[0x82, 0][..],
        &[0x20, 2, 0, 0],
        &[0x32, 2, 0, 9],
        &connect(false, "a", 0),
    ] {
        let mut peer = rig.connected(false, "a").await;
        peer.send(bytes).await;
        peer.gone().await;
    }
    rig.closed(Closed::Protocol, 11).await;
    assert_eq!(rig.counters.connections(), 0);
}

#[tokio::test]
async fn more_connections_than_the_limit_are_refused() {
    let rig = start(|config| config.limits.max_connections = 1).await;
    let _first = rig.connected(false, "a").await;
    refused(&rig, 0x97).await;
    rig.closed(Closed::TooMany, 2).await;
}

#[tokio::test]
async fn more_new_connections_a_second_than_the_limit_are_refused() {
    // None at all, so that no clock decides.
    let rig = start(|config| config.limits.max_connections_per_sec = 0).await;
    refused(&rig, 0x9f).await;
    rig.closed(Closed::TooFast, 2).await;
}

/// Expects that both versions are refused at their CONNECT, version 5 with this reason.
async fn refused(rig: &Rig, reason: u8) {
    for (v5, reason) in [(false, 3), (true, reason)] {
        let mut peer = rig.peer(v5).await;
        peer.send(&connect(v5, "b", 0)).await;
        assert_eq!(peer.packet().await.1[..2], [0, reason]);
        peer.gone().await;
    }
}

#[tokio::test]
async fn more_messages_a_second_than_the_limit_end_the_connection() {
    for v5 in [false, true] {
        let rig = start(|config| config.limits.max_messages_per_sec = 3).await;
        let mut peer = rig.connected(v5, "a").await;
        let one = publish(v5, 0, "demo/a", b"x");
        // Faster than they may come, on a busy machine too.
        peer.send(&one.repeat(50)).await;
        peer.ends(0x96).await;
        rig.closed(Closed::TooFast, 1).await;
        assert!(rig.counters.messages() >= 3);
    }
}

#[tokio::test]
async fn subscribers_hear_opened_namespaces_and_their_devices_at_the_lower_qos() {
    for v5 in [false, true] {
        let rig = plain().await;
        let mut peer = rig.connected(v5, "sub").await;
        let filters = [
            ("demo/#", 2),
            ("demo/low", 0),
            (&*format!("twin/rw/{STATION}/command/+"), 1),
            ("twin/rw/rw:station:404/desired", 1),
            ("other/#", 0),
        ];
        peer.send(&subscribe(v5, &filters)).await;
        let (kind, body) = peer.packet().await;
        let denied = if v5 { 0x87 } else { 0x80 };
        let codes = &body[if v5 { 3 } else { 2 }..];
        assert_eq!((kind, codes), (0x90, &[2, 0, 1, denied, denied][..]));

        let mut sender = rig.connected(!v5, "pub").await;
        sender.publish(5, "demo/a", "once").await;
        assert_eq!(sender.acknowledged().await, (5, 0));
        let (kind, body) = peer.packet().await;
        assert_eq!(kind & 0xf6, 0x32, "QoS 1");
        assert!(body.starts_with(&text("demo/a")) && body.ends_with(b"once"));
        let id = [body[8], body[9]];
        peer.send(&packet(0x40, &id)).await;
        sender.publish(0, "demo/a", "zero").await;
        assert_eq!(peer.packet().await.0, 0x30, "QoS 0 stays QoS 0");

        let command = format!("twin/rw/{STATION}/command/reboot");
        assert_eq!(
            rig.publisher
                .publish(&command, Bytes::from_static(b"now"), true),
            1
        );
        let (_, body) = peer.packet().await;
        assert!(body.starts_with(&text(&command)));
        assert_eq!(rig.counters.relayed(), 2);

        let mut body = vec![0, 4];
        body.extend(v5.then_some(0));
        body.extend(text("demo/#"));
        peer.send(&packet(0xa2, &body)).await;
        assert_eq!(peer.packet().await.0, 0xb0, "UNSUBACK");
        sender.publish(6, "demo/a", "more").await;
        assert_eq!(sender.acknowledged().await.0, 6);
        peer.quiet().await;
        drop(peer);
        rig.closed(Closed::Gone, 1).await;
        assert_eq!(
            rig.publisher.publish(&command, Bytes::new(), true),
            0,
            "nobody listens"
        );
    }
}

#[tokio::test]
async fn a_slow_subscriber_is_bounded_and_slows_no_one() {
    let rig = start(|config| config.limits.outbound_messages = 10).await;
    let mut slow = rig.connected(false, "slow").await;
    slow.send(&subscribe(false, &[("demo/#", 0)])).await;
    slow.packet().await;
    let mut sender = rig.connected(false, "pub").await;
    let payload = "x".repeat(200_000);
    let sent = 200;
    for packet_id in 1..=sent {
        sender.publish(packet_id, "demo/a", &payload).await;
        assert_eq!(sender.acknowledged().await.0, packet_id);
    }
    assert!(rig.counters.dropped() > 0);
    // Its end gives everything back, and nothing of what was sent is unaccounted for.
    drop(slow);
    rig.closed(Closed::Gone, 1).await;
    assert!(rig.counters.delivered() + rig.counters.dropped() <= u64::from(sent));
}

#[tokio::test]
async fn unacknowledged_deliveries_are_bounded() {
    let rig = start(|config| config.limits.outbound_in_flight = 2).await;
    let mut peer = rig.connected(true, "sub").await;
    peer.send(&subscribe(true, &[("demo/#", 1)])).await;
    peer.packet().await;
    let publish = || {
        rig.publisher
            .publish("demo/a", Bytes::from_static(b"x"), true)
    };
    assert_eq!((publish(), publish(), publish()), (1, 1, 1));
    let (_, first) = peer.packet().await;
    peer.packet().await;
    peer.quiet().await;
    peer.send(&packet(0x40, &first[8..10])).await;
    peer.packet().await;
}

#[tokio::test]
async fn the_will_is_published_unless_the_client_takes_leave() {
    let rig = plain().await;
    let mut peer = rig.connected(false, "sub").await;
    peer.send(&subscribe(false, &[("demo/#", 0)])).await;
    peer.packet().await;
    let mut rest = text("demo/will");
    rest.extend(text("gone"));
    let with_will = connect_with(false, "w", 0, 0b110, &rest);
    let mut polite = rig.peer(false).await;
    polite.send(&with_will).await;
    polite.packet().await;
    polite.send(&[0xe0, 0]).await;
    polite.gone().await;
    peer.quiet().await;
    let mut rude = rig.peer(false).await;
    rude.send(&with_will).await;
    rude.packet().await;
    drop(rude);
    let (_, body) = peer.packet().await;
    assert!(body.ends_with(b"gone"));
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_says_goodbye() {
    for v5 in [false, true] {
        let rig = plain().await;
        rig.fake.hold();
        let mut peer = rig.connected(v5, "a").await;
        peer.publish(1, &telemetry(STATION), &pm25(1.0)).await;
        let held = rig.fake.held(1).await;
        rig.stop.cancel();
        tokio::time::sleep(WHILE).await;
        assert!(!rig.running.is_finished());
        assert!(
            TcpStream::connect(rig.addr).await.is_err(),
            "no new connection"
        );
        for (_, answer) in held {
            answer.send(Ok(())).unwrap();
        }
        assert_eq!(peer.acknowledged().await, (1, 0));
        peer.ends(0x8b).await;
        tokio::time::timeout(SOON, rig.running)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rig.counters.connections(), 0);
    }
}

#[tokio::test]
async fn only_a_free_loopback_address_is_bound() {
    let bind = |addr: String| {
        let recorder = Arc::new(Handle(Arc::default()));
        Server::bind(addr.parse().unwrap(), Config::default(), recorder)
    };
    let remote = bind("0.0.0.0:0".to_owned()).await.unwrap_err();
    assert!(matches!(remote, BindError::NotLoopback(_)), "{remote}");
    let rig = plain().await;
    let taken = bind(rig.addr.to_string()).await.unwrap_err();
    assert!(taken.to_string().contains(&rig.addr.to_string()), "{taken}");
}

#[tokio::test]
async fn a_message_without_a_time_gets_one_of_its_own() {
    let rig = plain().await;
    let mut peer = rig.connected(false, "a").await;
    let mut bytes = Vec::new();
    for packet_id in 1..=3 {
        bytes.extend(publish(
            false,
            packet_id,
            &telemetry(STATION),
            br#"{"pm25":1}"#,
        ));
    }
    peer.send(&bytes).await;
    for _ in 0..3 {
        peer.acknowledged().await;
    }
    let recorded = rig.fake.recorded.lock().unwrap();
    let times: std::collections::BTreeSet<_> = recorded
        .iter()
        .flat_map(|readings| &readings.readings)
        .map(|reading| reading.ts)
        .collect();
    assert_eq!(times.len(), 3);
}
