//! `QoS` 2, sessions, wills and opened namespaces through the socket, byte by byte.

use std::time::Duration;

use bytes::Bytes;
use twin_core::Refusal;

use super::harness::*;
use crate::testing::STATION;
use crate::{Closed, Reason};

const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
/// Session expiry of 60 seconds.
const KEPT: [u8; 5] = [0x11, 0, 0, 0, 60];

/// CONNECT with a session that is kept.
fn keeping(v5: bool, client: &str) -> Vec<u8> {
    if v5 {
        connect_props(client, false, &KEPT)
    } else {
        connect_with(false, client, 0, 0, &[])
    }
}

/// Connects with a session that is kept; whether there was one.
async fn kept(rig: &Rig, v5: bool, client: &str) -> (Peer, bool) {
    let mut peer = rig.peer(v5).await;
    let connect = keeping(v5, client);
    peer.send(&connect).await;
    let (kind, body) = peer.packet().await;
    assert_eq!((kind, body[1]), (0x20, 0), "CONNACK, success");
    (peer, body[0] == 1)
}

impl Peer {
    /// Expects a packet of this kind that begins with this packet id; its reason code.
    async fn expect(&mut self, kind: u8, packet_id: u16) -> u8 {
        let (got, body) = self.packet().await;
        assert_eq!(
            (got, &body[..2]),
            (kind, &packet_id.to_be_bytes()[..]),
            "{body:x?}"
        );
        body.get(2).copied().unwrap_or(0)
    }

    async fn answer(&mut self, kind: u8, packet_id: u16) {
        self.send(&packet(kind, &packet_id.to_be_bytes())).await;
    }

    /// Subscribes and takes the SUBACK.
    async fn listens(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(self.v5, &[(filter, qos)])).await;
        let (kind, body) = self.packet().await;
        assert_eq!((kind, body.last()), (0x90, Some(&(qos & 3))));
    }

    /// The next PUBLISH: flags, packet id, properties, payload.
    async fn message(&mut self, topic: &str) -> (u8, u16, Vec<u8>, Vec<u8>) {
        let (first, body) = self.packet().await;
        assert_eq!(first >> 4, 3, "PUBLISH, not {first:x} {body:x?}");
        let rest = body.strip_prefix(&text(topic)[..]).expect("the topic");
        let (packet_id, rest) = match first & 6 {
            0 => (0, rest),
            _ => (u16::from_be_bytes([rest[0], rest[1]]), &rest[2..]),
        };
        let (props, payload) = if self.v5 {
            rest[1..].split_at(usize::from(rest[0]))
        } else {
            (&[][..], rest)
        };
        (first & 0xf, packet_id, props.to_vec(), payload.to_vec())
    }
}

#[tokio::test]
async fn qos_2_is_received_once_and_only_after_it_was_recorded() {
    for v5 in [false, true] {
        let rig = plain().await;
        rig.fake.hold();
        let mut peer = rig.connected(v5, "a").await;
        let reading = pm25(1.0);
        let send =
            |dup: u8| publish_as(v5, 4 | dup, 7, &telemetry(STATION), &[], reading.as_bytes());
        peer.send(&send(0)).await;
        let held = rig.fake.held(1).await;
        // A client that is impatient hears nothing earlier for it.
        peer.send(&send(8)).await;
        peer.quiet().await;
        for (_, answer) in held {
            answer.send(Ok(())).unwrap();
        }
        assert_eq!(peer.expect(PUBREC, 7).await, 0);
        peer.send(&send(8)).await;
        assert_eq!(peer.expect(PUBREC, 7).await, 0);
        for unknown in [0, if v5 { 0x92 } else { 0 }] {
            peer.answer(PUBREL, 7).await;
            assert_eq!(peer.expect(PUBCOMP, 7).await, unknown);
        }
        assert_eq!((rig.fake.recorded(), rig.counters.accepted()), (1, 1));
        // The packet id is free again.
        peer.send(&send(0)).await;
        for (_, answer) in rig.fake.held(1).await {
            answer.send(Ok(())).unwrap();
        }
        peer.expect(PUBREC, 7).await;
        assert_eq!(rig.fake.recorded(), 2);
    }
}

#[tokio::test]
async fn a_failed_commit_is_never_received() {
    for v5 in [false, true] {
        let rig = plain().await;
        rig.fake.hold();
        let mut peer = rig.connected(v5, "a").await;
        let send = publish_as(v5, 4, 7, &telemetry(STATION), &[], pm25(1.0).as_bytes());
        peer.send(&send).await;
        let fail = Refusal::Unavailable("disk".into());
        for (_, answer) in rig.fake.held(1).await {
            answer.send(Err(fail.clone())).unwrap();
        }
        if v5 {
            assert_eq!(peer.expect(PUBREC, 7).await, 0x80);
            // So it may come again, as a new one.
            peer.send(&send).await;
            for (_, answer) in rig.fake.held(1).await {
                answer.send(Ok(())).unwrap();
            }
            assert_eq!(peer.expect(PUBREC, 7).await, 0);
        } else {
            peer.gone().await;
            rig.closed(Closed::CommitFailed, 1).await;
        }
    }
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_known_after_the_connection_broke() {
    for v5 in [false, true] {
        let rig = plain().await;
        rig.fake.hold();
        let (mut peer, present) = kept(&rig, v5, "a").await;
        assert!(!present);
        let reading = pm25(1.0);
        let send = |flags| publish_as(v5, flags, 7, &telemetry(STATION), &[], reading.as_bytes());
        peer.send(&send(4)).await;
        let held = rig.fake.held(1).await;
        drop(peer);
        // The next connection waits until it is known how that ended.
        let mut again = rig.peer(v5).await;
        again.send(&keeping(v5, "a")).await;
        again.send(&send(12)).await;
        again.quiet().await;
        for (_, answer) in held {
            answer.send(Ok(())).unwrap();
        }
        assert_eq!(again.packet().await.1[..2], [1, 0], "session present");
        again.expect(PUBREC, 7).await;
        again.answer(PUBREL, 7).await;
        assert_eq!(again.expect(PUBCOMP, 7).await, 0);
        assert_eq!(rig.fake.recorded(), 1);
    }
}

#[tokio::test]
async fn more_than_the_receive_maximum_ends_the_connection() {
    for v5 in [false, true] {
        let rig = start(|config| config.limits.receive_maximum = 2).await;
        let mut peer = rig.connected(v5, "a").await;
        for packet_id in 1..=2 {
            peer.send(&publish_as(v5, 4, packet_id, "demo/a", &[], b""))
                .await;
            peer.expect(PUBREC, packet_id).await;
        }
        peer.send(&publish_as(v5, 4, 3, "demo/a", &[], b"")).await;
        peer.ends(0x93).await;
        rig.closed(Closed::Protocol, 1).await;
    }
}

#[tokio::test]
async fn a_kept_session_hears_what_it_missed_and_what_it_did_not_finish() {
    for v5 in [false, true] {
        let rig = plain().await;
        let (mut peer, _) = kept(&rig, v5, "a").await;
        peer.listens("demo/#", 2).await;
        let mut sender = rig.connected(!v5, "pub").await;
        let mut publish = async |flags: u8, payload: &[u8]| {
            sender
                .send(&publish_as(!v5, flags, 9, "demo/a", &[], payload))
                .await;
            let (kind, _) = sender.packet().await;
            if kind == PUBREC {
                sender.answer(PUBREL, 9).await;
                sender.expect(PUBCOMP, 9).await;
            }
        };
        publish(2, b"one").await;
        publish(4, b"two").await;
        publish(4, b"three").await;
        let (flags, first, ..) = peer.message("demo/a").await;
        assert_eq!(flags, 2, "QoS 1");
        let (flags, second, ..) = peer.message("demo/a").await;
        assert_eq!(flags, 4, "QoS 2");
        let (_, third, ..) = peer.message("demo/a").await;
        peer.answer(PUBREC, second).await;
        peer.expect(PUBREL, second).await;
        drop(peer);
        rig.closed(Closed::Gone, 1).await;
        publish(2, b"four").await;

        let (mut peer, present) = kept(&rig, v5, "a").await;
        assert!(present);
        let (flags, id, _, payload) = peer.message("demo/a").await;
        assert_eq!(
            (flags, id, &payload[..]),
            (10, first, &b"one"[..]),
            "again, and says so"
        );
        peer.expect(PUBREL, second).await;
        let (flags, id, ..) = peer.message("demo/a").await;
        assert_eq!((flags, id), (12, third));
        let (flags, fourth, _, payload) = peer.message("demo/a").await;
        assert_eq!((flags, &payload[..]), (2, &b"four"[..]));
        peer.answer(0x40, first).await;
        peer.answer(PUBCOMP, second).await;
        peer.answer(PUBREC, third).await;
        peer.expect(PUBREL, third).await;
        peer.answer(PUBCOMP, third).await;
        peer.answer(0x40, fourth).await;
        peer.send(&[0xc0, 0]).await;
        assert_eq!(peer.packet().await.0, 0xd0);
        drop(peer);
        rig.closed(Closed::Gone, 2).await;
        assert_eq!(rig.counters.sessions(), 1);
        let mut clean = rig.connected(v5, "a").await;
        clean.quiet().await;
        assert_eq!(rig.counters.sessions(), 0, "clean start ends it");
    }
}

#[tokio::test]
async fn a_session_s_life_is_bounded_and_may_be_changed_at_the_end() {
    let rig = start(|config| config.limits.max_session_expiry = Duration::from_secs(30)).await;
    let (mut peer, _) = kept(&rig, true, "a").await;
    // DISCONNECT that ends the session.
    peer.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0])).await;
    peer.gone().await;
    rig.closed(Closed::Disconnect, 1).await;
    assert_eq!(rig.counters.sessions(), 0);

    let mut peer = rig.peer(true).await;
    peer.send(&connect_props("a", false, &KEPT)).await;
    let (_, body) = peer.packet().await;
    assert_eq!(body[0], 0, "not present");
    let granted = [0x11, 0, 0, 0, 30];
    assert!(body.windows(5).any(|w| w == granted), "{body:x?}");

    // What was to end with its connection cannot be kept.
    let mut short = rig.connected(true, "b").await;
    short.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9])).await;
    short.ends(0x82).await;
}

#[tokio::test]
async fn a_will_that_waits_is_published_unless_the_client_comes_back() {
    let rig = plain().await;
    let mut peer = rig.connected(true, "sub").await;
    peer.listens("demo/will", 1).await;
    // Will delay of an hour; QoS 1 and RETAIN.
    let mut will = vec![5, 0x18, 0, 0, 14, 16];
    will.extend(text("demo/will"));
    will.extend(text("gone"));
    let flags = 0b0010_1100;
    for count in 1..=2 {
        let mut client = rig.peer(true).await;
        client
            .send(&connect_v5("w", flags, &[0x11, 0, 0, 14, 16], &will))
            .await;
        client.packet().await;
        drop(client);
        rig.closed(Closed::Gone, count).await;
    }
    peer.quiet().await;
    // A clean start ends the session, and that is when its will is published at the latest.
    let _clean = rig.connected(true, "w").await;
    let (flags, _, _, payload) = peer.message("demo/will").await;
    assert_eq!((flags, &payload[..]), (2, &b"gone"[..]));
    peer.quiet().await;
    let mut late = rig.connected(true, "late").await;
    late.listens("demo/will", 0).await;
    assert_eq!(late.message("demo/will").await.0, 1, "retained");
}

#[tokio::test]
async fn a_will_keeps_to_the_rules_of_its_client() {
    let rig = plain().await;
    let mut rest = text("factory/line");
    rest.extend(text("gone"));
    let mut client = rig.peer(false).await;
    client
        .send(&connect_with(false, "w", 0, 0b110, &rest))
        .await;
    client.packet().await;
    drop(client);
    rig.closed(Closed::Gone, 1).await;
    assert_eq!(rig.counters.refused(Reason::ForeignTopic), 1);
}

#[tokio::test]
async fn retained_messages_greet_a_subscriber_as_it_asks() {
    let rig = plain().await;
    let mut sender = rig.connected(true, "pub").await;
    sender
        .send(&publish_as(true, 3, 1, "demo/a", &[], b"kept"))
        .await;
    sender.acknowledged().await;
    let mut peer = rig.connected(true, "sub").await;
    for (options, greeted) in [(1, true), (1 | 0x10, false), (1, true), (1 | 0x20, false)] {
        peer.listens("demo/+", options).await;
        if greeted {
            let (flags, id, _, payload) = peer.message("demo/a").await;
            assert_eq!((flags, &payload[..]), (3, &b"kept"[..]));
            peer.answer(0x40, id).await;
        }
        peer.quiet().await;
    }
    // An empty payload takes it back.
    sender
        .send(&publish_as(true, 3, 2, "demo/a", &[], b""))
        .await;
    sender.acknowledged().await;
    assert_eq!(rig.counters.retained(), 0);
}

#[tokio::test]
async fn a_message_that_is_too_old_is_not_delivered() {
    let rig = plain().await;
    let (mut peer, _) = kept(&rig, true, "a").await;
    peer.listens("demo/#", 1).await;
    drop(peer);
    rig.closed(Closed::Gone, 1).await;
    let mut sender = rig.connected(true, "pub").await;
    for (packet_id, seconds) in [(1, 0), (2, 200)] {
        let expiry = [2, 0, 0, 0, seconds];
        sender
            .send(&publish_as(true, 2, packet_id, "demo/a", &expiry, b"x"))
            .await;
        sender.acknowledged().await;
    }
    let (mut peer, _) = kept(&rig, true, "a").await;
    let (_, _, props, _) = peer.message("demo/a").await;
    assert_eq!((props[0], &props[1..4]), (2, &[0, 0, 0][..]));
    assert!((1..=200).contains(&props[4]), "{props:?}");
    assert_eq!(rig.counters.expired(), 1);
}

#[tokio::test]
async fn subscriptions_are_named_and_topics_abbreviated_for_version_5() {
    let rig = plain().await;
    let mut peer = rig.peer(true).await;
    // Takes one topic alias.
    peer.send(&connect_props("sub", true, &[0x22, 0, 1])).await;
    peer.packet().await;
    let mut body = vec![0, 9, 2, 0x0b, 77];
    body.extend(text("demo/#"));
    body.push(0);
    peer.send(&packet(0x82, &body)).await;
    peer.packet().await;
    let publish = |topic| {
        rig.publisher
            .publish(topic, Bytes::from_static(b"x"), false)
    };
    publish("demo/a");
    publish("demo/a");
    publish("demo/b");
    let named = [0x0b, 77];
    let (_, _, props, _) = peer.message("demo/a").await;
    assert_eq!(props, [&named[..], &[0x23, 0, 1]].concat());
    let (_, _, props, _) = peer.message("").await;
    assert_eq!(props, [&named[..], &[0x23, 0, 1]].concat());
    let (_, _, props, _) = peer.message("demo/b").await;
    assert_eq!(props, named);
}

#[tokio::test]
async fn a_client_may_say_that_it_takes_no_aliases() {
    let rig = plain().await;
    let mut peer = rig.peer(true).await;
    let mut rest = vec![0];
    rest.extend(text("demo/will"));
    rest.extend(text("gone"));
    let connect = connect_v5("sub", 0b110, &[0x22, 0, 0, 0x21, 0, 9], &rest);
    // In pieces, and with what comes behind it.
    for byte in &connect {
        peer.send(&[*byte]).await;
    }
    peer.packet().await;
    peer.listens("demo/#", 0).await;
    let mut again = rig.peer(true).await;
    again.send(&[&connect[..], &[0xc0, 0]].concat()).await;
    assert_eq!(again.packet().await.0, 0x20);
    assert_eq!(again.packet().await.0, 0xd0, "PINGRESP");
    let (_, _, _, payload) = peer_will(&rig, &mut again).await;
    assert_eq!(payload, b"gone");
}

/// The will that a client leaves, as another one hears it.
async fn peer_will(rig: &Rig, client: &mut Peer) -> (u8, u16, Vec<u8>, Vec<u8>) {
    let mut listener = rig.connected(true, "listener").await;
    listener.listens("demo/will", 0).await;
    // Connecting twice is an error, so the will is published.
    client.send(&connect(true, "sub", 0)).await;
    listener.message("demo/will").await
}

#[tokio::test]
async fn the_server_s_keep_alive_wins() {
    let rig = start(|config| config.limits.max_keep_alive = 60).await;
    for (asked, told) in [(0, true), (30, false), (120, true)] {
        let mut peer = rig.peer(true).await;
        peer.send(&connect(true, "a", asked)).await;
        let (_, body) = peer.packet().await;
        assert_eq!(body.windows(3).any(|w| w == [0x13, 0, 60]), told, "{asked}");
    }
}
