//! The recorder that is the twin itself.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ontology::ClassId;
use twin_core::{DeadLetter, Readings, Receipt, Refusal, Twin, TwinId};

use crate::desired::{self, Tell};
use crate::recorder::{DeviceKind, Known, Recorder};

/// Name of the class that every device is or extends.
const DEVICE: &str = "Device";

/// The ontology has nothing that could be a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ontology has no class `{DEVICE}`, so no device can be registered: add the pack that declares it"
)]
pub struct NoDevices;

/// Records into a twin what its devices send.
#[derive(Debug)]
pub struct TwinRecorder {
    twin: Twin,
    /// The class that every device is or extends.
    device: ClassId,
    /// By class id; `None` for a class that is no device.
    kinds: Vec<Option<Arc<DeviceKind>>>,
}

impl TwinRecorder {
    /// The recorder of a twin.
    pub fn new(twin: Twin) -> Result<Self, NoDevices> {
        let view = twin.view();
        let ontology = view.ontology();
        let device = ontology.class_named(DEVICE).ok_or(NoDevices)?.id;
        let kinds = ontology.classes().iter().map(|class| {
            ontology.is_a(class.id, device).then(|| {
                let (name, telemetry) = (class.name.clone(), class.telemetry.clone());
                Arc::new(DeviceKind {
                    class: name,
                    telemetry,
                })
            })
        });
        let kinds = kinds.collect();
        Ok(Self {
            twin,
            device,
            kinds,
        })
    }
}

impl Recorder for TwinRecorder {
    fn known(&self, id: &TwinId) -> Known {
        let view = self.twin.view();
        let Some(twin) = view.twin(id) else {
            return Known::Nothing;
        };
        match self.kinds.get(view.class_id(twin).0 as usize) {
            Some(Some(kind)) => Known::Device(Arc::clone(kind)),
            _ => Known::NoDevice(view.class(twin).name.clone()),
        }
    }

    fn record(&self, readings: Readings) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        let twin = self.twin.clone();
        Box::pin(async move { twin.record(readings).await })
    }

    fn desired(&self, id: &TwinId) -> Option<Bytes> {
        let view = self.twin.view();
        let twin = view.twin(id)?;
        let is_device = view.ontology().is_a(view.class_id(twin), self.device);
        is_device.then(|| desired::payload(&view, twin))
    }

    fn watch_desired(&self, tell: Tell) -> BoxFuture<'static, ()> {
        // Now, and not when it is first waited for: what happens between would not be told.
        let from = self.twin.view().position();
        Box::pin(desired::watch(self.twin.clone(), from, self.device, tell))
    }

    fn bury(&self, letter: DeadLetter) -> BoxFuture<'static, Result<(), Refusal>> {
        let twin = self.twin.clone();
        Box::pin(async move { twin.bury(letter).await })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ontology::{Ontology, Value};
    use tokio_util::sync::CancellationToken;
    use twin_core::memory::{Fault, MemoryStore};
    use twin_core::{Commit, Operation, Principal, Put, Settings};

    use super::*;
    use crate::replay::{Air, Report, Target, replay};
    use crate::{Config, Reason, Retry, Server};

    const MODELS: [(&str, &str); 3] = [
        (
            "Device",
            r#"{"@context":"dtmi:dtdl:context;3","@id":"dtmi:t:Device;1","@type":"Interface"}"#,
        ),
        (
            "Station",
            r#"{"@context":"dtmi:dtdl:context;3","@id":"dtmi:t:Station;1","@type":"Interface","extends":"dtmi:t:Device;1",
                "contents":[{"@type":"Telemetry","name":"pm25","schema":"double"},
                  {"@type":"Property","name":"every","schema":"integer","writable":true},
                  {"@type":"Property","name":"serial","schema":"string"}]}"#,
        ),
        (
            "Village",
            r#"{"@context":"dtmi:dtdl:context;3","@id":"dtmi:t:Village;1","@type":"Interface"}"#,
        ),
    ];

    fn id(text: &str) -> TwinId {
        TwinId::new(text).unwrap()
    }

    async fn nation() -> (Twin, MemoryStore) {
        let folder = tempfile::tempdir().unwrap();
        let pack = folder.path().join("t");
        std::fs::create_dir(&pack).unwrap();
        std::fs::write(pack.join("pack.toml"), "name = \"t\"\n").unwrap();
        for (name, model) in MODELS {
            std::fs::write(pack.join(format!("{name}.json")), model).unwrap();
        }
        let (ontology, _) = Ontology::load_dir(folder.path()).unwrap();
        let ontology = Arc::new(ontology);
        let store = MemoryStore::new(Arc::clone(&ontology));
        // Times here are small numbers.
        let settings = Settings {
            max_behind: Duration::MAX,
            ..Settings::default()
        };
        let twin = Twin::open(Arc::new(store.clone()), ontology, settings)
            .await
            .unwrap();
        let put = |name: &str, class: &str| {
            let (set, geometry, expect) = (Vec::new(), None, None);
            Operation::Upsert(Put {
                id: id(name),
                class: class.into(),
                set,
                geometry,
                expect,
            })
        };
        let operations = vec![put("s:1", "Station"), put("v:1", "Village")];
        let principal = Principal::system("test");
        twin.commit(Commit {
            principal,
            idempotency: None,
            operations,
        })
        .await
        .unwrap();
        (twin, store)
    }

    async fn publish(target: &Target, device: &str, pm25: f64) -> Report {
        let air = std::iter::once(Ok(Air { ts: 5, pm25 }));
        replay(target, &id(device), air, None, &CancellationToken::new())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_a_device_publishes_is_in_the_twin_when_it_is_acknowledged() {
        let (twin, store) = nation().await;
        let recorder = Arc::new(TwinRecorder::new(twin.clone()).unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::default();
        config.limits.payload.max_behind = Duration::MAX;
        let server = Server::bind(any, config, recorder).await.unwrap();
        let counters = server.counters();
        let target = Target {
            addr: server.local_addr(),
            realm: "rw".into(),
            v5: true,
            at_least_once: true,
            in_flight: 4,
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        let latest = || {
            let view = twin.view();
            let station = view.twin(&id("s:1")).unwrap();
            view.latest(station, 0)
                .map(|latest| (latest.ts, latest.value.clone()))
        };

        assert_eq!(publish(&target, "s:1", 31.4).await.acknowledged, 1);
        assert_eq!(latest(), Some((5, Value::Double(31.4))));
        for device in ["v:1", "s:404"] {
            assert_eq!(publish(&target, device, 1.0).await.acknowledged, 1);
        }
        assert_eq!(counters.refused(Reason::UnknownDevice), 2);
        let letters = store.dead_letters();
        assert_eq!(letters.len(), 2);
        assert!(letters[0].detail.contains("is a Village"));

        store.fail(Some(Fault::Engine));
        let report = publish(&target, "s:1", 99.0).await;
        assert_eq!((report.acknowledged, report.failed), (0, 1));
        assert_eq!(latest(), Some((5, Value::Double(31.4))));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), running)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_device_is_told_its_writable_properties_whenever_they_change() {
        let (twin, _) = nation().await;
        let recorder = TwinRecorder::new(twin.clone()).unwrap();
        let (said, mut heard) = tokio::sync::mpsc::channel(9);
        let tell: Tell = Box::new(move |id| said.try_send(id.clone()).unwrap());
        let telling = tokio::spawn(recorder.watch_desired(tell));
        let put = |name: &str, class: &str, property: &str, value: Option<Value>| {
            Operation::Upsert(Put {
                id: id(name),
                class: class.into(),
                set: vec![(property.into(), value)],
                geometry: None,
                expect: None,
            })
        };
        let change = async |operation| {
            let principal = Principal::system("test");
            let commit = Commit {
                principal,
                idempotency: None,
                operations: vec![operation],
            };
            twin.commit(commit).await.unwrap().position.to_string()
        };
        let serial = Some(Value::Text("A".into()));
        change(put("s:1", "Station", "serial", serial)).await;
        let set = change(put("s:1", "Station", "every", Some(Value::Int(5)))).await;
        assert_eq!(heard.recv().await, Some(id("s:1")));
        // Only the second change was told, and only what may be set.
        let desired = recorder.desired(&id("s:1")).unwrap();
        let expected = serde_json::json!({
            "schema_version": 1, "revision": set, "values": {"every": 5}
        });
        let desired: serde_json::Value = serde_json::from_slice(&desired).unwrap();
        assert_eq!(desired, expected);
        assert!(recorder.desired(&id("v:1")).is_none(), "it is no device");
        assert!(recorder.desired(&id("s:404")).is_none());

        let gone = Operation::Delete {
            id: id("s:1"),
            expect: None,
            detach: true,
        };
        change(gone).await;
        assert_eq!(heard.recv().await, Some(id("s:1")));
        assert!(recorder.desired(&id("s:1")).is_none());
        change(put("s:2", "Station", "every", None)).await;
        assert_eq!(heard.recv().await, Some(id("s:2")));
        twin.close().await;
        telling.await.unwrap();
        assert!(heard.try_recv().is_err(), "nothing else was told");
    }

    #[tokio::test]
    async fn a_dead_letter_is_taken_in_again_once_its_cause_is_gone() {
        let (twin, store) = nation().await;
        let recorder = Arc::new(TwinRecorder::new(twin.clone()).unwrap());
        let mut config = Config {
            realm: "rw".into(),
            ..Config::default()
        };
        config.limits.payload.max_behind = Duration::MAX;
        let retry = Retry::new(config, recorder).unwrap();
        let letter = |topic: &str, payload: &str| DeadLetter {
            at: 7_000_000,
            client: "c".into(),
            topic: topic.into(),
            payload: payload.to_owned().into(),
            size: payload.len() as u64,
            reason: "unknown_device".into(),
            detail: String::new(),
        };
        let topic = "twin/rw/s:2/telemetry";
        let good = letter(topic, r#"{"schema_version": 1, "values": {"pm25": 3.5}}"#);
        for (letter, part) in [
            (good.clone(), "register the device"),
            (letter("elsewhere", "{}"), "foreign_topic"),
            (letter("twin/rw/s:1/telemetry", "{"), "malformed_json"),
            (
                DeadLetter {
                    size: 1 << 20,
                    ..good.clone()
                },
                "MAX_LETTER_BYTES",
            ),
            (
                DeadLetter {
                    reason: Reason::ForeignDevice.name().into(),
                    ..letter(
                        "twin/rw/s:1/telemetry",
                        r#"{"schema_version": 1, "values": {"pm25": 666}}"#,
                    )
                },
                "another one",
            ),
        ] {
            let refused = retry.take(&letter).await.unwrap_err();
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let station = Put {
            id: id("s:2"),
            class: "Station".into(),
            set: Vec::new(),
            geometry: None,
            expect: None,
        };
        let registered = Commit {
            principal: Principal::system("test"),
            idempotency: None,
            operations: vec![Operation::Upsert(station)],
        };
        twin.commit(registered).await.unwrap();
        for _ in 0..2 {
            retry.take(&good).await.unwrap();
            let view = twin.view();
            let latest = view.latest(view.find("s:2").unwrap(), 0).unwrap();
            // When it came at first, so the second time changes nothing.
            assert_eq!((latest.ts, &latest.value), (7_000_000, &Value::Double(3.5)));
        }
        // Ahead of the clock then, and not any more.
        let early = letter(
            topic,
            r#"{"schema_version": 1, "ts": 900, "values": {"pm25": 4.5}}"#,
        );
        retry.take(&early).await.unwrap();
        // What has no time in a pack that was too early keeps the one at which it came.
        let pack = letter(
            topic,
            r#"[{"schema_version": 1, "ts": 901, "values": {"pm25": 5.5}},
                {"schema_version": 1, "values": {"pm25": 6.5}}]"#,
        );
        for _ in 0..2 {
            retry.take(&pack).await.unwrap();
        }
        let view = twin.view();
        let all = view.find("s:2").unwrap();
        let all = twin
            .history(&view, all, "pm25", i64::MIN..i64::MAX, 9)
            .await;
        let times: Vec<_> = all.unwrap().iter().map(|past| past.ts).collect();
        assert_eq!(times, [7_000_000, 900_000_000, 901_000_000]);
        assert!(store.dead_letters().is_empty());
    }
}
