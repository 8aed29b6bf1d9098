//! The MQTT service as it is configured.

use std::path::Path;
use std::time::Duration;

use ingest::{Pem, Tls};

use crate::config::Config;
use crate::failure::Failure;

/// What the MQTT server is bound with; files are read here.
pub(crate) fn config(config: &Config) -> Result<ingest::Config, Failure> {
    let mqtt = &config.mqtt;
    let mut bound = ingest::Config {
        realm: config.twin.realm.as_str().into(),
        open: mqtt.open.clone(),
        ..Default::default()
    };
    let limits = &mut bound.limits;
    limits.max_connections = mqtt.max_connections as usize;
    limits.max_connections_per_sec = mqtt.max_connections_per_sec;
    limits.max_messages_per_sec = mqtt.max_messages_per_sec;
    limits.max_keep_alive = mqtt.max_keep_alive_secs;
    limits.max_session_expiry = Duration::from_secs(u64::from(mqtt.max_session_expiry_secs));
    limits.max_sessions = mqtt.max_sessions as usize;
    let max_ahead_secs = u64::from(config.twin.max_ahead_secs);
    limits.payload.max_ahead = Duration::from_secs(max_ahead_secs);
    limits.payload.max_behind = config.twin.max_behind();
    if !mqtt.tls_certificate.as_os_str().is_empty() {
        let client_ca = &mqtt.tls_client_ca;
        let named = !client_ca.as_os_str().is_empty();
        bound.tls = Some(Tls {
            listen: mqtt.tls_listen,
            certificate: pem("mqtt.tls_certificate", &mqtt.tls_certificate)?,
            key: pem("mqtt.tls_key", &mqtt.tls_key)?,
            client_ca: named
                .then(|| pem("mqtt.tls_client_ca", client_ca))
                .transpose()?,
        });
    }
    Ok(bound)
}

fn pem(key: &str, path: &Path) -> Result<Pem, Failure> {
    let name = format!("{key} {}", path.display());
    let text = std::fs::read(path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(Pem { name, text })
}
