//! The service: one twin, its schema and its executor, whatever carries the requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value as Json};
use tokio::sync::Semaphore;
use twin_core::{Position, Twin, View};

use crate::api::Api;
use crate::error::{Code, Fault};
use crate::exec::{self, Answer};
use crate::frame::{self, Document, Frame};
use crate::limits::{AFTER_PATIENCE, INLINE_WORK, MAX_CONCURRENT_REQUESTS};
use crate::metrics::Metrics;
use crate::schema::{self, SchemaError};

/// Runs one read-only SurrealQL text; answers a list with a result or an error for each statement,
/// or says why nothing was run.
pub type SurqlFn = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Json, String>> + Send + Sync>;

/// What a service may have beside its twin.
#[derive(Clone, Default)]
pub struct Options {
    /// Folder with the console's assets (what `npm ci` puts in `console/node_modules`); without
    /// it, `/graphql` says how to get them.
    pub assets: Option<PathBuf>,
    /// Runs SurrealQL; without it, `/surql` says that there is none.
    pub surql: Option<SurqlFn>,
    /// Lines of attribution that the start page shows.
    pub attribution: Vec<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("assets", &self.assets)
            .field("surql", &self.surql.is_some())
            .field("attribution", &self.attribution)
            .finish()
    }
}

/// The service face of one twin. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) twin: Twin,
    pub(crate) api: Api,
    pub(crate) frame: Frame,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    /// Requests that may be worked on at once.
    pub(crate) room: Semaphore,
}

/// One GraphQL request.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) query: String,
    pub(crate) operation: Option<String>,
    pub(crate) variables: Map<String, Json>,
    /// The position that the answer has to hold.
    pub(crate) after: Option<Position>,
}

impl Service {
    /// The service of a twin.
    pub fn new(twin: Twin, options: Options) -> Result<Self, SchemaError> {
        let api = Api::new(Arc::clone(twin.view().ontology()));
        let frame = Frame::new(schema::build(&api)?);
        let metrics = Metrics::new(twin.clone());
        let room = Semaphore::new(MAX_CONCURRENT_REQUESTS);
        Ok(Self {
            inner: Arc::new(Inner {
                twin,
                api,
                frame,
                options,
                metrics,
                room,
            }),
        })
    }

    /// The schema in GraphQL's own language.
    pub fn sdl(&self) -> &str {
        self.inner.frame.sdl()
    }

    /// Answers a query given as text, as `POST /graphql` does; the bytes are JSON.
    pub async fn query(&self, query: &str, variables: Map<String, Json>) -> Vec<u8> {
        let question = Question {
            query: query.to_owned(),
            variables,
            ..Question::default()
        };
        self.answer(question).await.body
    }

    pub(crate) async fn answer(&self, question: Question) -> Answer {
        let started = Instant::now();
        let answer = self.work(question).await;
        self.inner
            .metrics
            .answered(&answer.codes, started.elapsed());
        answer
    }

    async fn work(&self, mut question: Question) -> Answer {
        let twin = &self.inner.twin;
        let view = match &question.after {
            None => Some(twin.view()),
            Some(after) => twin.view_at_least(after, AFTER_PATIENCE).await,
        };
        let Some(view) = view else {
            let fault = Fault::new(
                Code::Timeout,
                format!(
                    "the position of Twin-After was not reached within {} s (AFTER_PATIENCE): \
                     try again, or ask without it",
                    AFTER_PATIENCE.as_secs()
                ),
            );
            return exec::refusal(vec![fault], &twin.view().position());
        };
        match self.plan_and_run(&view, &mut question).await {
            Ok(answer) => answer,
            Err(faults) => exec::refusal(faults, &view.position()),
        }
    }

    async fn plan_and_run(
        &self,
        view: &View,
        question: &mut Question,
    ) -> Result<Answer, Vec<Fault>> {
        let inner = &self.inner;
        let one = |fault| vec![fault];
        let document = inner.frame.document(&question.query).await?;
        let name = question.operation.take();
        let operation = frame::operation(&document.parsed, name.as_deref()).map_err(one)?;
        let set = &operation.node.selection_set.node;
        let prepared = exec::prepare(
            &inner.api,
            view,
            &document.parsed,
            operation,
            &mut question.variables,
        );
        let (variables, cost) = prepared.map_err(one)?;
        match asks_introspection(&document.parsed, set) {
            (false, _) => {}
            (true, true) => {
                let message = "`__schema` and `__type` are asked in a request of their own";
                return Err(one(Fault::invalid(message)));
            }
            (true, false) => {
                let variables = Json::Object(variables);
                let answer = inner
                    .frame
                    .introspect(&document, name.as_deref(), variables)
                    .await;
                return Ok(exec::introspection(answer, &view.position()));
            }
        }
        if cost.nodes.saturating_add(cost.scanned) <= INLINE_WORK {
            return Ok(exec::query(
                &inner.api,
                view,
                &document.parsed,
                operation,
                &variables,
            ));
        }
        let (service, view) = (self.clone(), view.clone());
        let long = tokio::task::spawn_blocking(move || {
            let document: &Document = &document;
            let operation = frame::operation(&document.parsed, name.as_deref())?;
            Ok(exec::query(
                &service.inner.api,
                &view,
                &document.parsed,
                operation,
                &variables,
            ))
        });
        match long.await {
            Ok(answer) => answer.map_err(one),
            Err(error) => {
                tracing::error!(%error, "an answer ended badly");
                let message = "the answer ended badly; the log says more".to_owned();
                Err(one(Fault::new(Code::Internal, message)))
            }
        }
    }
}

/// Whether a root selection asks for introspection, and whether for anything else.
fn asks_introspection(document: &ExecutableDocument, set: &SelectionSet) -> (bool, bool) {
    set.items
        .iter()
        .fold((false, false), |(introspects, more), item| {
            let (a, b) = match &item.node {
                Selection::Field(field) => match field.node.name.node.as_str() {
                    "__typename" => (false, false),
                    name if frame::is_introspection(name) => (true, false),
                    _ => (false, true),
                },
                Selection::InlineFragment(fragment) => {
                    asks_introspection(document, &fragment.node.selection_set.node)
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    document
                        .fragments
                        .get(name)
                        .map_or((false, false), |fragment| {
                            asks_introspection(document, &fragment.node.selection_set.node)
                        })
                }
            };
            (introspects || a, more || b)
        })
}
