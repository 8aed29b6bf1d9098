//! The services in front of a twin: bound first, started when the twin can be used, drained when
//! the process is interrupted.

use std::future::IntoFuture as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use graphql_api::{Options, RetryFn, Service, SurqlFn};
use ingest::{Retry, Server, TwinRecorder};
use serde_json::json;
use store::{Limits, SurrealStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twin_core::{DeadLetter, Twin};

use crate::config::Config;
use crate::failure::Failure;
use crate::figures;
use crate::mqtt;
use crate::nation::Nation;
use crate::output;
use crate::reload::{Reload, Source};
use crate::websocket;

/// Longest time that answers under way may take after an interruption.
const DRAIN: Duration = Duration::from_secs(10);

/// `twin serve`.
pub(crate) async fn run(config: Config, source: Source, json: bool) -> Result<ExitCode, Failure> {
    let doors = Doors::bind(&config).await?;
    let nation = Nation::open(config).await?;
    let stop = Stop::on_signal()?;
    serve(nation, source, doors, stop, json, Vec::new(), &[]).await
}

/// Addresses that are taken before anything slow begins: a port in use is said at once.
pub(crate) struct Doors {
    http: TcpListener,
    mqtt: (std::net::SocketAddr, ingest::Config),
}

impl Doors {
    pub(crate) async fn bind(config: &Config) -> Result<Self, Failure> {
        let listen = config.http.listen;
        let http = TcpListener::bind(listen).await.map_err(|error| {
            Failure::failed(format!(
                "HTTP cannot listen on {listen}: {error}; choose another address with --http, or \
                 port 0 for any free one"
            ))
        })?;
        Ok(Self {
            http,
            mqtt: (config.mqtt.listen, mqtt::config(config)?),
        })
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("signals: {error}")))
}

/// Becomes true once the process is asked to end.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for an interruption or a request to terminate. A second one ends the process.
    pub(crate) fn on_signal() -> Result<Self, Failure> {
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(false);
        let mut asked = async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        tokio::spawn(async move {
            asked().await;
            sender.send_replace(true);
            asked().await;
            output::end_at_once(
                "asked to end twice: what was under way is cut; what was acknowledged is durable",
            );
        });
        Ok(Self(receiver))
    }

    /// Requests to read the configuration again.
    fn on_reload() -> Result<Signal, Failure> {
        listen(SignalKind::hangup())
    }

    /// Waits until the process is asked to end.
    pub(crate) async fn wait(mut self) {
        // An error says that the listening task is gone, which also ends the process.
        drop(self.0.wait_for(|stop| *stop).await);
    }
}

/// Serves until stopped, then drains and closes.
pub(crate) async fn serve(
    nation: Nation,
    source: Source,
    doors: Doors,
    stop: Stop,
    json: bool,
    attribution: Vec<String>,
    next: &[String],
) -> Result<ExitCode, Failure> {
    let recorder = recorder(&nation)?;
    let (listen, mqtt) = doors.mqtt;
    let mqtt = Server::bind(listen, mqtt, recorder)
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;
    let (counters, store) = (mqtt.counters(), Arc::clone(&nation.store));
    let folder = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    let options = Options {
        assets: folder(&nation.config.http.assets),
        map: folder(&nation.config.http.map),
        surql: Some(surql(&nation.store, &nation.twin)),
        attribution,
        retry: Some(retry(&nation)?),
        figures: Some(Arc::new(move || {
            let mut all = figures::mqtt(&counters);
            all.extend(figures::logs(store.logs()));
            all
        })),
    };
    let service = Service::new(nation.twin.clone(), options)
        .map_err(|error| Failure::failed(format!("the API's schema: {error}")))?;
    let http_addr = doors
        .http
        .local_addr()
        .map_err(|error| Failure::failed(format!("HTTP: {error}")))?;
    let (mqtt_addr, mqtts_addr) = (mqtt.local_addr(), mqtt.tls_addr());
    let position = nation.twin.view().position();
    let app = graphql_api::router_with(service.clone(), websocket::route(mqtt.door()));
    let app = app.into_make_service();
    let http = axum::serve(doors.http, app).with_graceful_shutdown(stop.clone().wait());
    let http = tokio::spawn(http.into_future());
    let mqtt = tokio::spawn(mqtt.run(stop.clone().wait()));
    let reload = tokio::spawn(Reload::new(source, &nation).run(Stop::on_reload()?));
    if json {
        let mut ready = json!({
            "ready": true,
            "http": http_addr.to_string(),
            "mqtt": mqtt_addr.to_string(),
            "position": position.to_string(),
        });
        if let Some(addr) = mqtts_addr {
            ready["mqtts"] = addr.to_string().into();
        }
        output::line(&ready.to_string());
    } else {
        output::line(&format!(
            "\nReady at {position}.\n  Start page   http://{http_addr}/\n  GraphQL      http://{http_addr}/graphql\n  MQTT         {mqtt_addr}"
        ));
        if let Some(addr) = mqtts_addr {
            output::line(&format!("  MQTT, TLS    {addr}"));
        }
        for line in next {
            output::line(line);
        }
        output::line("Ctrl-C ends it.");
    }
    stop.wait().await;
    output::note("draining …; asked again, it ends at once");
    reload.abort();
    let drained = async { tokio::join!(http, mqtt, service.close()) };
    match tokio::time::timeout(DRAIN, drained).await {
        Ok((Ok(Ok(())), Ok(()), ())) => {}
        Ok((http, mqtt, ())) => {
            tracing::error!(?http, ?mqtt, "a service ended badly");
        }
        // Streams that never end by themselves are cut here.
        Err(_elapsed) => tracing::warn!("some answers were still under way after {DRAIN:?}"),
    }
    nation.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Where goes what devices say.
fn recorder(nation: &Nation) -> Result<Arc<TwinRecorder>, Failure> {
    let recorder = TwinRecorder::new(nation.twin.clone());
    recorder
        .map(Arc::new)
        .map_err(|error| Failure::failed(error.to_string()))
}

/// Takes dead letters in again, as the MQTT server would.
pub(crate) fn retry(nation: &Nation) -> Result<RetryFn, Failure> {
    let ingest = mqtt::config(&nation.config)?;
    let retry = Retry::new(ingest, recorder(nation)?);
    let retry = Arc::new(retry.map_err(|error| Failure::failed(error.to_string()))?);
    Ok(Arc::new(move |letter: DeadLetter| {
        let retry = Arc::clone(&retry);
        async move { retry.take(&letter).await }.boxed()
    }))
}

fn surql(store: &Arc<SurrealStore>, twin: &Twin) -> SurqlFn {
    let (store, twin) = (Arc::clone(store), twin.clone());
    Arc::new(move |text| {
        let (store, twin) = (Arc::clone(&store), twin.clone());
        async move {
            // A failed engine shows rows that nobody was promised.
            if let Some(reason) = twin.stopped() {
                return Err(format!(
                    "the twin does not write any more ({reason}); SurrealQL is answered again after \
                     a restart, and the API goes on"
                ));
            }
            store
                .query(&text, &serde_json::Map::new(), Limits::default())
                .await
                .map(serde_json::Value::Array)
                .map_err(|error| error.to_string())
        }
        .boxed()
    })
}
