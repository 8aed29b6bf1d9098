//! Configuration: defaults, then `twin.toml`, then `TWIN_SECTION__KEY`, then flags.
//!
//! # Invariants
//! - `twin.toml` in the repository names every key with its default, commented; a test compares.
//! - A key nobody knows is refused with its source and a close name: a typing error never passes
//!   for a setting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) twin: TwinSection,
    pub(crate) http: HttpSection,
    pub(crate) mqtt: MqttSection,
    pub(crate) store: StoreSection,
    pub(crate) history: HistorySection,
    pub(crate) log: LogSection,
}

/// Seconds of a day.
const DAY_SECS: u64 = 86_400;

/// What is held and where its data comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TwinSection {
    /// Tenant.
    pub(crate) realm: String,
    /// Folder of the durable store.
    pub(crate) dir: PathBuf,
    /// Folder of source data.
    pub(crate) data: PathBuf,
    /// Folder of ontology packs, mappings and small facts.
    pub(crate) seeds: PathBuf,
    /// Furthest that the time of a reading may be ahead of this machine's clock, seconds.
    pub(crate) max_ahead_secs: u32,
    /// Furthest that it may lie behind it, days.
    pub(crate) max_behind_days: u32,
}

/// The HTTP service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HttpSection {
    /// Address to listen on; port 0 takes any free one.
    pub(crate) listen: SocketAddr,
    /// Folder of the GraphiQL files; empty where there are none.
    pub(crate) assets: PathBuf,
    /// Folder of the built map; empty where there is none.
    pub(crate) map: PathBuf,
}

/// The MQTT service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MqttSection {
    /// Address to listen on; port 0 takes any free one.
    pub(crate) listen: SocketAddr,
    /// Address to listen on for TLS, once there is a certificate.
    pub(crate) tls_listen: SocketAddr,
    /// File of the server's certificate; empty where TLS is not offered.
    pub(crate) tls_certificate: PathBuf,
    /// File of its private key.
    pub(crate) tls_key: PathBuf,
    /// File of the certificates that sign those of devices; empty where devices show none.
    pub(crate) tls_client_ca: PathBuf,
    /// Topic filters of namespaces opened for plain publish and subscribe.
    pub(crate) open: Vec<String>,
    /// Most connections at once.
    pub(crate) max_connections: u32,
    /// Most new connections a second.
    pub(crate) max_connections_per_sec: u32,
    /// Most publishes of one connection a second.
    pub(crate) max_messages_per_sec: u32,
    /// Longest keep alive of a version 5 client, seconds; 0 leaves it to the clients.
    pub(crate) max_keep_alive_secs: u16,
    /// Longest time a session is kept after its connection, seconds.
    pub(crate) max_session_expiry_secs: u32,
    /// Most sessions that are kept so.
    pub(crate) max_sessions: u32,
}

/// The durable store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreSection {
    /// Memory of the engine's block cache, MiB.
    pub(crate) block_cache_mib: u32,
    /// Memory of one write buffer, MiB.
    pub(crate) write_buffer_mib: u32,
    /// How many write buffers there may be.
    pub(crate) write_buffers: u32,
    /// How much the engine writes into `LOG` in its folder.
    pub(crate) log: EngineLog,
    /// When what is acknowledged is durable.
    pub(crate) sync: Sync,
}

/// Readings in their lasting form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HistorySection {
    /// How often readings are brought into it, seconds.
    pub(crate) tend_secs: u32,
    /// How long readings are kept as they came, days; 0 keeps them.
    pub(crate) readings_days: u32,
    /// The same for single classes, by name.
    pub(crate) classes: BTreeMap<String, u32>,
    /// How long their sums by hour and minute are kept, days; 0 keeps them.
    pub(crate) sums_days: u32,
}

/// What happened, in order: for subscriptions that resume, replicas and exporters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogSection {
    /// Readings: most MiB that are kept; 0 sets no limit.
    pub(crate) readings_mib: u32,
    /// Readings: how long they are kept, days; 0 sets no limit.
    pub(crate) readings_days: u32,
    /// Changes: most MiB that are kept; 0 sets no limit.
    pub(crate) changes_mib: u32,
    /// Changes: how long they are kept, days; 0 sets no limit.
    pub(crate) changes_days: u32,
}

/// How much the engine of the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineLog {
    Error,
    Warn,
    Info,
}

/// When what is acknowledged is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    /// Before it is acknowledged.
    Every,
    /// When the operating system likes: a power cut loses what was acknowledged last.
    Never,
}

impl TwinSection {
    /// Furthest that the time of a reading may lie behind this machine's clock.
    pub(crate) fn max_behind(&self) -> Duration {
        Duration::from_secs(u64::from(self.max_behind_days) * DAY_SECS)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            twin: TwinSection {
                realm: "rw".to_owned(),
                dir: ".twin".into(),
                data: "data".into(),
                seeds: "seeds".into(),
                max_ahead_secs: u32::try_from(twin_core::MAX_AHEAD.as_secs()).unwrap_or(u32::MAX),
                max_behind_days: u32::try_from(twin_core::MAX_BEHIND.as_secs() / DAY_SECS)
                    .unwrap_or(u32::MAX),
            },
            http: HttpSection {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                assets: PathBuf::new(),
                map: PathBuf::new(),
            },
            mqtt: MqttSection {
                listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
                tls_listen: SocketAddr::from(([127, 0, 0, 1], 8883)),
                tls_certificate: PathBuf::new(),
                tls_key: PathBuf::new(),
                tls_client_ca: PathBuf::new(),
                open: Vec::new(),
                max_connections: 20_000,
                max_connections_per_sec: 10_000,
                max_messages_per_sec: 100_000,
                max_keep_alive_secs: 0,
                max_session_expiry_secs: 86_400,
                max_sessions: 20_000,
            },
            store: StoreSection {
                block_cache_mib: 256,
                write_buffer_mib: 64,
                write_buffers: 4,
                log: EngineLog::Warn,
                sync: Sync::Every,
            },
            history: HistorySection {
                tend_secs: u32::try_from(twin_core::TEND_EVERY.as_secs()).unwrap_or(u32::MAX),
                readings_days: 0,
                classes: BTreeMap::new(),
                sums_days: 0,
            },
            log: LogSection {
                readings_mib: 4_096,
                readings_days: 7,
                changes_mib: 0,
                changes_days: 0,
            },
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A key nobody knows.
    #[error("{at}: unknown key `{key}`{}", .suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    UnknownKey {
        at: String,
        key: String,
        suggestion: Option<String>,
    },
    /// A value of the wrong type, or a file that is not TOML.
    #[error("configuration: {0}")]
    Value(String),
    /// A file that was named and cannot be read.
    #[error("configuration file {path}: {reason}")]
    File { path: PathBuf, reason: String },
    /// An address that only a secured service may have.
    #[error(
        "{key} is {address}, which other machines can reach, and TLS and authentication are not \
         configured: use a loopback address such as 127.0.0.1:{}", .address.port()
    )]
    Remote {
        key: &'static str,
        address: SocketAddr,
    },
    /// An address that only clients with certificates may reach.
    #[error(
        "mqtt.tls_listen is {address}, which other machines can reach, and devices need not say who they \
         are: name mqtt.tls_client_ca, or use a loopback address such as 127.0.0.1:{}", .address.port()
    )]
    Nameless { address: SocketAddr },
    /// A setting that means nothing without another.
    #[error("{0} is set and {1} is not: name the file, or remove {0}")]
    Without(&'static str, &'static str),
    /// A realm that is no name.
    #[error("twin.realm `{0}` is not a realm: a lower-case letter, then at most 31 of a-z 0-9 -")]
    Realm(String),
}

impl Config {
    /// The folder of source data, where there is one.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        let data = &self.twin.data;
        data.is_dir().then(|| data.clone())
    }

    /// Reads the file (`twin.toml` here, if none is named and there is one) and the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new("twin.toml"));
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let given = Figment::from(Toml::string(&text));
                check_keys(&given, &path.display().to_string())?;
                figment = figment.merge(Toml::string(&text));
            }
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let (path, reason) = (path.to_owned(), error.to_string());
                return Err(ConfigError::File { path, reason });
            }
        }
        // Only TWIN_SECTION__KEY: TWIN_DATA and its like belong to the tools around.
        let environment = || {
            Env::prefixed("TWIN_")
                .filter(|key| key.as_str().contains("__"))
                .split("__")
        };
        check_keys(&Figment::from(environment()), "environment TWIN_…")?;
        let config: Self = figment
            .merge(environment())
            .extract()
            .map_err(|error| ConfigError::Value(error.to_string()))?;
        Ok(config)
    }

    /// Checks what no type says.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let realm = self.twin.realm.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if !realm.first().is_some_and(u8::is_ascii_lowercase)
            || !realm.iter().all(plain)
            || realm.len() > 32
        {
            return Err(ConfigError::Realm(self.twin.realm.clone()));
        }
        for (key, address) in [
            ("http.listen", self.http.listen),
            ("mqtt.listen", self.mqtt.listen),
        ] {
            if !address.ip().is_loopback() {
                return Err(ConfigError::Remote { key, address });
            }
        }
        self.mqtt.check()
    }
}

impl MqttSection {
    fn check(&self) -> Result<(), ConfigError> {
        let named = |path: &PathBuf| !path.as_os_str().is_empty();
        if named(&self.tls_certificate) && !named(&self.tls_key) {
            return Err(ConfigError::Without("mqtt.tls_certificate", "mqtt.tls_key"));
        }
        for (key, file) in [
            ("mqtt.tls_key", &self.tls_key),
            ("mqtt.tls_client_ca", &self.tls_client_ca),
        ] {
            if named(file) && !named(&self.tls_certificate) {
                return Err(ConfigError::Without(key, "mqtt.tls_certificate"));
            }
        }
        if !self.tls_listen.ip().is_loopback() && !named(&self.tls_client_ca) {
            let address = self.tls_listen;
            return Err(ConfigError::Nameless { address });
        }
        Ok(())
    }
}

/// Refuses the first key that the defaults do not have.
fn check_keys(given: &Figment, at: &str) -> Result<(), ConfigError> {
    let read = |figment: &Figment| {
        figment
            .extract::<Dict>()
            .map_err(|error| ConfigError::Value(format!("{at}: {error}")))
    };
    let known = read(&Figment::from(Serialized::defaults(Config::default())))?;
    for (section, value) in &read(given)? {
        let unknown = |key: String, name: &str, names: &Dict| ConfigError::UnknownKey {
            at: at.to_owned(),
            key,
            suggestion: ontology::closest(name, names.keys().map(String::as_str))
                .map(str::to_owned),
        };
        let Some(Value::Dict(_, keys)) = known.get(section) else {
            return Err(unknown(section.clone(), section, &known));
        };
        let Value::Dict(_, given) = value else {
            return Err(ConfigError::Value(format!(
                "{at}: `{section}` is a section, not a value"
            )));
        };
        if let Some(key) = given.keys().find(|key| !keys.contains_key(*key)) {
            return Err(unknown(format!("{section}.{key}"), key, keys));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("twin.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path))
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_close_name() {
        let error = read("[http]\nlistne = \"127.0.0.1:1\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("http.listne") && error.contains("`listen`"),
            "{error}"
        );
        let error = read("[htpp]\nlisten = \"127.0.0.1:1\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`http`"), "{error}");
    }

    #[test]
    fn a_wrong_type_says_where() {
        let error = read("[store]\nwrite_buffers = \"many\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("write_buffers"), "{error}");
    }

    #[test]
    fn a_word_that_is_none_says_what_there_is() {
        let error = read("[store]\nsync = \"sometimes\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            ["store.sync", "sometimes", "every", "never"]
                .iter()
                .all(|word| error.contains(word)),
            "{error}"
        );
    }

    #[test]
    fn a_remote_address_needs_tls() {
        let config = read("[http]\nlisten = \"0.0.0.0:8080\"\n").unwrap();
        assert!(matches!(
            config.check(),
            Err(ConfigError::Remote {
                key: "http.listen",
                ..
            })
        ));
    }

    #[test]
    fn tls_for_other_machines_needs_their_certificates() {
        let check = |text: &str| read(&format!("[mqtt]\n{text}")).unwrap().check();
        let files = "tls_certificate = \"a.pem\"\ntls_key = \"a.key\"\n";
        let remote = "tls_listen = \"0.0.0.0:8883\"\n";
        assert!(check(files).is_ok());
        let nameless = check(&format!("{files}{remote}"));
        assert!(matches!(nameless, Err(ConfigError::Nameless { .. })));
        assert!(check(&format!("{files}{remote}tls_client_ca = \"ca.pem\"\n")).is_ok());
        for alone in ["tls_certificate", "tls_key", "tls_client_ca"] {
            let alone = check(&format!("{alone} = \"a.pem\"\n"));
            assert!(matches!(alone, Err(ConfigError::Without(..))), "{alone:?}");
        }
    }

    #[test]
    fn the_shipped_file_names_every_key_with_its_default() {
        let shipped = include_str!("../../twin.toml");
        let lines: Vec<&str> = shipped
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|line| line.contains(" = "))
                    .unwrap_or(line)
            })
            .filter(|line| !line.starts_with('#'))
            .collect();
        let uncommented = lines.join("\n");
        let given: Dict = Figment::from(Toml::string(&uncommented)).extract().unwrap();
        let known: Dict = Figment::from(Serialized::defaults(Config::default()))
            .extract()
            .unwrap();
        for (section, keys) in &known {
            let named = |dict: &Dict| match dict.get(section) {
                Some(Value::Dict(_, keys)) => keys.keys().cloned().collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            let Value::Dict(..) = keys else { continue };
            assert_eq!(named(&given), named(&known), "[{section}]");
        }
        assert_eq!(read(&uncommented).unwrap(), Config::default());
    }
}
