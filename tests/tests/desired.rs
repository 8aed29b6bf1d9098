//! Devices are told what they shall be like: `mosquitto_sub` and mqtt.js hear the writable properties
//! of their twin when they subscribe, and whenever these change.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test outside its functions too fails by panicking"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::ChildStdout,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{Foreign, Start, Twin, node, register_stations, station, subscriber};

/// A message is heard within this time, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);
/// Lines that wait for the test to read them.
const LINES_AHEAD: usize = 100;

/// A program that listens.
struct Listener {
    _client: Foreign,
    lines: Receiver<String>,
}

impl Listener {
    fn new(mut client: Foreign) -> Self {
        let lines = lines(client.output());
        Self {
            _client: client,
            lines,
        }
    }

    #[track_caller]
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(SOON);
        line.unwrap_or_else(|why| panic!("nothing more was heard: {why}"))
    }

    /// Whether it is retained, the quality of service and the message, of `mosquitto_sub`.
    #[track_caller]
    fn message(&self) -> (String, String, Value) {
        let line = self.next();
        let (retain, rest) = line.split_once(' ').unwrap();
        let (qos, payload) = rest.split_once(' ').unwrap();
        let payload = serde_json::from_str(payload).unwrap_or(Value::Null);
        (retain.to_owned(), qos.to_owned(), payload)
    }
}

fn lines(output: BufReader<ChildStdout>) -> Receiver<String> {
    let (send, lines) = mpsc::sync_channel(LINES_AHEAD);
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn topic(device: &str) -> String {
    format!("twin/rw/{device}/desired")
}

/// `mosquitto_sub` of a device's desired state.
fn mosquitto(twin: &Twin, device: &str, version: &str, qos: &str) -> Listener {
    let topic = topic(device);
    let args = ["-V", version, "-q", qos, "-F", "%r %q %p", "-t", &topic];
    Listener::new(Foreign::start(&mut subscriber(twin.mqtt(), &args)))
}

#[track_caller]
fn set(twin: &Twin, device: &str, set: &Value) {
    let mutation = "mutation($set: JSON!, $id: ID!) { commit(operations: [
        {patch: {class: \"AirQualityStation\", id: $id, set: $set}}]) { position } }";
    twin.graphql(mutation, json!({ "id": device, "set": set }))
        .data();
}

#[track_caller]
fn revision(twin: &Twin, device: &str) -> Value {
    let query = "query($id: ID!) { twin(id: $id) { revision } }";
    twin.graphql(query, json!({ "id": device })).data()["twin"]["revision"].clone()
}

#[test]
fn a_device_hears_its_desired_state_at_once_and_whenever_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 2);
    let start = || Start::serve().dir(&dir).ready();
    let (device, other) = (station(0), station(1));

    let mut twin = start();
    set(
        &twin,
        &device,
        &json!({ "serialNumber": "A-1", "heightAboveGround": 2.5 }),
    );
    for (version, qos) in [("mqttv311", "0"), ("mqttv5", "1"), ("mqttv5", "2")] {
        let listener = mosquitto(&twin, &device, version, qos);
        let (retain, granted, desired) = listener.message();
        assert_eq!((&*retain, &*granted), ("1", qos), "as it was subscribed");
        assert_eq!(desired["schema_version"], 1);
        assert_eq!(desired["revision"], revision(&twin, &device));
        assert_eq!(desired["values"]["serialNumber"], "A-1");
        assert_eq!(desired["values"]["heightAboveGround"], 2.5);

        // What happens to others is not told, what is cleared is left out.
        set(&twin, &other, &json!({ "serialNumber": qos }));
        set(&twin, &device, &json!({ "serialNumber": null }));
        let (retain, granted, desired) = listener.message();
        assert_eq!((&*retain, &*granted), ("0", qos));
        assert_eq!(desired["revision"], revision(&twin, &device));
        assert_eq!(desired["values"].get("serialNumber"), None, "{desired}");
        set(&twin, &device, &json!({ "serialNumber": "A-1" }));
        assert_eq!(listener.message().2["values"]["serialNumber"], "A-1");
    }

    // It is the twin's own state, so a crash changes nothing of it.
    let before = mosquitto(&twin, &device, "mqttv5", "1").message();
    twin.kill9();
    let twin = start();
    let listener = mosquitto(&twin, &device, "mqttv5", "1");
    assert_eq!(listener.message(), before);

    // A device that is gone is told so by an empty message.
    twin.graphql(
        "mutation($id: ID!) { deleteTwin(id: $id, detach: true) { changes } }",
        json!({ "id": device }),
    )
    .data();
    assert_eq!(listener.message().2, Value::Null);
}

#[test]
fn mqtt_js_hears_the_desired_state_and_no_other_topic_of_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("twin");
    register_stations(&dir, 1);
    let twin = Start::serve().dir(&dir).ready();
    let device = station(0);
    let listen = |version: &str, topic: &str| {
        let url = format!("ws://{}/mqtt", twin.http());
        let mut command = node("listen.mjs");
        Listener::new(Foreign::start(command.args([&*url, version, topic, "1"])))
    };
    let next = |listener: &Listener| -> Value { serde_json::from_str(&listener.next()).unwrap() };
    for version in ["4", "5"] {
        let listener = listen(version, &topic(&device));
        // What is retained may come before the answer to the subscription.
        let first = [next(&listener), next(&listener)];
        assert!(first.contains(&json!({ "subscribed": 1 })), "{first:?}");
        let kept = first.iter().find(|said| said["retain"] == true).unwrap();
        assert_eq!(kept["topic"], topic(&device));
        set(&twin, &device, &json!({ "manufacturer": version }));
        let told = next(&listener);
        assert_eq!((&told["retain"], &told["qos"]), (&json!(false), &json!(1)));
        let desired: Value = serde_json::from_str(told["payload"].as_str().unwrap()).unwrap();
        assert_eq!(desired["values"]["manufacturer"], version);
    }
    for refused in ["twin/rw/nobody/desired", "twin/rw/+/desired", "twin/rw/#"] {
        let said = next(&listen("5", refused));
        let code = said["subscribed"].as_u64().unwrap();
        assert!(code >= 128, "{refused}: {said}");
    }
}
