//! The doors of MQTT: certificates name devices, and nobody speaks for another; a browser comes in
//! behind the guard of HTTP.
//!
//! # Invariants
//! - Certificates are made by the openssl command line, clients are `mosquitto_pub` and mqtt.js; only
//!   what no client does, such as stopping between PUBREC and PUBREL, is written in bytes.
#![expect(
    clippy::unwrap_used,
    reason = "a test outside its functions too fails by panicking"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::{
    Checks, Finished, Foreign, Start, Twin, node, publisher, register_stations, station, subscriber,
};

/// A publish is answered within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// What every station measures here.
const READING: &str = r#"{"ts": 1700000000, "values": {"pm25": 7.5}}"#;

/// A certificate authority of a test, and what it signed, as files in a folder.
struct Authority {
    folder: PathBuf,
    name: &'static str,
}

impl Authority {
    fn new(folder: &Path, name: &'static str) -> Self {
        let authority = Self {
            folder: folder.to_owned(),
            name,
        };
        let (key, certificate) = (authority.key(name), authority.certificate(name));
        let subject = format!("/CN={name}");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
        authority
    }

    fn path(&self, name: &str, ending: &str) -> String {
        self.folder
            .join(format!("{name}.{ending}"))
            .display()
            .to_string()
    }

    fn key(&self, name: &str) -> String {
        self.path(name, "key")
    }

    fn certificate(&self, name: &str) -> String {
        self.path(name, "pem")
    }

    /// Signs a certificate of this file name for a subject.
    fn sign(&self, name: &str, subject: &str) {
        let (request, extensions) = (self.path(name, "csr"), self.path(name, "ext"));
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &self.key(name),
            "-out",
            &request,
        ]);
        let text = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
        fs::write(&extensions, text).unwrap();
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &self.certificate(self.name),
            "-CAkey",
            &self.key(self.name),
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &self.certificate(name),
        ]);
    }
}

#[track_caller]
fn openssl(args: &[&str]) {
    let done = Foreign::start(Command::new("openssl").args(args)).finished(SOON);
    assert_eq!(done.code, Some(0), "openssl {args:?}: {done:?}");
}

/// `twin serve` with TLS that asks for certificates of this authority.
fn secured(authority: &Authority, key: &str) -> Start {
    Start::serve()
        .env("TWIN_MQTT__TLS_LISTEN", "127.0.0.1:0")
        .env(
            "TWIN_MQTT__TLS_CERTIFICATE",
            &authority.certificate("server"),
        )
        .env("TWIN_MQTT__TLS_KEY", key)
        .env(
            "TWIN_MQTT__TLS_CLIENT_CA",
            &authority.certificate(authority.name),
        )
}

/// Publishes over TLS with the certificate of this name, if any.
#[track_caller]
fn publish(
    twin: &Twin,
    own: &Authority,
    shown: Option<(&Authority, &str)>,
    device: &str,
) -> Finished {
    let (ca, topic) = (
        own.certificate(own.name),
        format!("twin/rw/{device}/telemetry"),
    );
    let mut args = vec![
        "-V", "mqttv5", "-q", "1", "--cafile", &ca, "-t", &topic, "-m", READING,
    ];
    let files = shown.map(|(authority, name)| (authority.certificate(name), authority.key(name)));
    if let Some((certificate, key)) = &files {
        args.extend(["--cert", certificate, "--key", key]);
    }
    Foreign::start(&mut publisher(twin.mqtts(), &args)).finished(SOON)
}

/// Waits over TLS for one message of a device's desired state, with the certificate `device`.
#[track_caller]
fn listen(twin: &Twin, own: &Authority, device: &str) -> Finished {
    let (ca, topic) = (
        own.certificate(own.name),
        format!("twin/rw/{device}/desired"),
    );
    let (certificate, key) = (own.certificate("device"), own.key("device"));
    let args = [
        "-V",
        "mqttv5",
        "-q",
        "1",
        "-C",
        "1",
        "--cafile",
        &ca,
        "--cert",
        &certificate,
        "--key",
        &key,
        "-t",
        &topic,
    ];
    Foreign::start(&mut subscriber(twin.mqtts(), &args)).finished(SOON)
}

#[track_caller]
fn heard(twin: &Twin, device: &str) -> bool {
    let query = "query($id: ID!) { twin(id: $id) { ... on AirQualityStation { pm25 { value } } } }";
    let answer = twin.graphql(query, json!({ "id": device }));
    answer.data()["twin"]["pm25"]["value"] == 7.5
}

#[test]
fn a_certificate_lets_its_device_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 3);
    let own = Authority::new(folder.path(), "authority");
    let foreign = Authority::new(folder.path(), "stranger");
    own.sign("server", "/CN=localhost");
    let devices = [station(0), station(1), station(2)];
    own.sign("device", &format!("/CN={}", devices[0]));
    own.sign("nobody", "/CN=test:station:none");
    own.sign("nameless", "/O=Rwanda");
    foreign.sign("forged", &format!("/CN={}", devices[1]));

    let mut checks = Checks::new();
    checks.check("a wrong file is named when the twin starts", || {
        let missing = secured(&own, "/nowhere/server.key").dir(&dir).refused();
        assert_eq!(missing.code, Some(2), "{}", missing.text);
        for text in ["mqtt.tls_key", "/nowhere/server.key"] {
            assert!(missing.text.contains(text), "{}", missing.text);
        }
        // miette wraps long lines, so only a word of the reason is looked for.
        let crossed = secured(&own, &own.key("device")).dir(&dir).refused();
        assert!(
            crossed.text.contains("mqtt.tls_certificate"),
            "{}",
            crossed.text
        );
        let no_key = secured(&own, &own.certificate("server"))
            .dir(&dir)
            .refused();
        assert!(no_key.text.contains("private"), "{}", no_key.text);
    });
    let twin = secured(&own, &own.key("server")).dir(&dir).ready();
    checks.check("a device publishes for itself", || {
        let done = publish(&twin, &own, Some((&own, "device")), &devices[0]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(heard(&twin, &devices[0]));
    });
    checks.check("and for no other: that becomes a dead letter", || {
        let counter = "twin_mqtt_refused_total{reason=\"foreign_device\"}";
        let done = publish(&twin, &own, Some((&own, "device")), &devices[2]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(twin.metric(counter), 1);
        assert!(!heard(&twin, &devices[2]));
    });
    checks.check(
        "a device hears its own desired state, and no other's",
        || {
            let done = listen(&twin, &own, &devices[0]);
            assert!(done.out.contains("\"revision\""), "{done:?}");
            let done = listen(&twin, &own, &devices[1]);
            assert!(done.out.is_empty(), "{done:?}");
            assert!(done.err.contains("denied"), "{done:?}");
        },
    );
    checks.check(
        "who shows no certificate, or a stranger's, does not come in",
        || {
            let closed = "twin_mqtt_closed_total{reason=\"handshake\"}";
            for (count, shown) in [
                (1, None),
                (2, Some((&foreign, "forged"))),
                (3, Some((&own, "nameless"))),
            ] {
                let done = publish(&twin, &own, shown, &devices[1]);
                assert_ne!(done.code, Some(0), "{done:?}");
                assert_eq!(twin.metric(closed), count);
            }
            assert!(!heard(&twin, &devices[1]));
        },
    );
    checks.check("a name that is no device is not authorised", || {
        let done = publish(&twin, &own, Some((&own, "nobody")), "test:station:none");
        let said = format!("{}{}", done.out, done.err).to_lowercase();
        assert!(
            done.code != Some(0) && said.contains("not authorized"),
            "{done:?}"
        );
    });
    checks.finish();
}

#[test]
fn mqtt_js_publishes_over_a_websocket() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 4);
    let twin = Start::serve().dir(&dir).ready();
    let url = format!("ws://{}/mqtt", twin.http());
    let publish = |version: &str, device: &str, message: &str, options: &str| {
        let topic = format!("twin/rw/{device}/telemetry");
        let args = [&url, version, &topic, message, options];
        Foreign::start(node("mqtt.mjs").args(args)).finished(SOON)
    };
    let mut checks = Checks::new();
    for (number, version) in ["4", "5"].into_iter().enumerate() {
        let device = station(number);
        checks.check("what is acknowledged is in the twin", || {
            let done = publish(version, &device, READING, "{}");
            assert_eq!(done.code, Some(0), "{done:?}");
            assert!(heard(&twin, &device), "version {version}");
        });
    }
    checks.check(
        "a packet may be longer than a message of the socket",
        || {
            let done = publish("5", &station(2), READING, r#"{"pad": 200000}"#);
            assert_eq!(done.code, Some(0), "{done:?}");
            assert!(heard(&twin, &station(2)));
        },
    );
    checks.check("a page of another site does not come in", || {
        let elsewhere = r#"{"wsOptions": {"origin": "http://elsewhere.example"}}"#;
        let done = publish("5", &station(3), READING, elsewhere);
        assert!(
            done.code == Some(1) && done.out.contains("closed"),
            "{done:?}"
        );
        assert!(!heard(&twin, &station(3)));
    });
    checks.finish();
}

/// Sends bytes of MQTT 3.1.1 and expects these in return.
#[track_caller]
fn exchange(stream: &mut TcpStream, sent: &[u8], expected: &[u8]) {
    stream.write_all(sent).unwrap();
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

/// A connection whose session is to be kept; the server knows none.
#[track_caller]
fn connected(twin: &Twin) -> TcpStream {
    let mut stream = TcpStream::connect(twin.mqtt()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";
    exchange(&mut stream, connect, &[0x20, 2, 0, 0]);
    stream
}

#[test]
fn a_reading_of_qos_2_that_is_sent_again_after_a_crash_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 1);
    let device = station(0);
    let topic = format!("twin/rw/{device}/telemetry");
    let publish = |flags: u8| {
        let mut bytes = vec![0x34 | flags, (2 + topic.len() + 2 + READING.len()) as u8];
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.bytes().chain([0, 7]).chain(READING.bytes()));
        bytes
    };
    let mut twin = Start::serve().dir(&dir).ready();
    exchange(&mut connected(&twin), &publish(0), &[0x50, 2, 0, 7]);
    twin.kill9();

    let mut checks = Checks::new();
    let twin = Start::serve().dir(&dir).ready();
    checks.check("what was received survived, and is taken again", || {
        assert!(heard(&twin, &device));
        let mut stream = connected(&twin);
        exchange(&mut stream, &publish(8), &[0x50, 2, 0, 7]);
        exchange(&mut stream, &[0x62, 2, 0, 7], &[0x70, 2, 0, 7]);
    });
    checks.check("it is in the history once", || {
        let query = "query($id: ID!) { twin(id: $id) { ... on AirQualityStation {
                       pm25 { history(from: \"2023-01-01T00:00:00Z\") { value } } } } }";
        let answer = twin.graphql(query, json!({ "id": device }));
        let history = &answer.data()["twin"]["pm25"]["history"];
        assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    });
    checks.finish();
}
