//! The API's HTTP service on a port of its own, and a client that asks it.

use std::time::Duration;

use graphql_api::Service;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// Longest time that one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of one answer.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// The service.
pub(crate) struct Web {
    /// Where GraphQL is asked.
    url: String,
    /// Where everything else begins.
    base: String,
    server: tokio::task::JoinHandle<()>,
}

impl Web {
    pub(crate) async fn serve(service: Service) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("HTTP cannot listen: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = graphql_api::router(service).into_make_service();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the measured HTTP service ended");
            }
        });
        let base = format!("http://{address}");
        let url = format!("{base}/graphql");
        Ok(Self { url, base, server })
    }

    pub(crate) fn client(&self) -> Client {
        Client {
            agent: agent(PATIENCE),
            url: self.url.clone(),
            base: self.base.clone(),
        }
    }

    pub(crate) fn close(self) {
        self.server.abort();
    }
}

/// A client with one kept connection. It blocks its thread.
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    base: String,
}

impl Client {
    /// The bytes that a request is answered with.
    pub(crate) fn post(&self, request: &Value) -> Result<Vec<u8>, Failure> {
        body(&self.url, self.agent.post(&self.url).send_json(request))
    }

    /// The bytes that stand at a path.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{path}", self.base);
        body(&url, self.agent.get(&url).call())
    }
}

/// A client that waits so long for an answer.
pub(crate) fn agent(patience: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(patience));
    config.build().into()
}

/// The bytes of an answer, at most [`MAX_ANSWER_BYTES`].
pub(crate) fn body(
    url: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Vec<u8>, Failure> {
    let failed = |error: ureq::Error| Failure::failed(format!("{url}: {error}"));
    let mut answer = answer.map_err(failed)?;
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
    body.read_to_vec().map_err(failed)
}
