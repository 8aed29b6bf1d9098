//! The service: one twin, its schema and its executor, whatever carries the requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_graphql::Positioned;
use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value as Json};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use twin_core::{DeadLetter, Position, Principal, Receipt, Refusal, Twin, View};

use crate::api::Api;
use crate::changes::Changes;
use crate::error::{Code, Fault};
use crate::exec::{self, Answer, Cost, Deed, Done, History, Turn, Variables};
use crate::frame::{self, Document, Frame};
use crate::limits::{
    AFTER_PATIENCE, MAX_BULKS, MAX_CONCURRENT_REQUESTS, MAX_LOG_READERS, MAX_SOCKETS,
    MAX_SUBSCRIPTIONS, REQUEST_TIMEOUT, ROOM_PATIENCE,
};
use crate::metrics::{Figure, Metrics, Places};
use crate::schema::{self, SchemaError};
use crate::tiles::{self, Asked, Drawn, Layer, Tile};

/// Runs one read-only SurrealQL text; answers a list with a result or an error for each statement,
/// or says why nothing was run.
pub type SurqlFn = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Json, String>> + Send + Sync>;

/// Takes a message in again that was refused; a refusal says why it is refused now.
pub type RetryFn =
    Arc<dyn Fn(DeadLetter) -> BoxFuture<'static, Result<Receipt, Refusal>> + Send + Sync>;

/// Reads what another room counts, for `/metrics`.
pub type FiguresFn = Arc<dyn Fn() -> Vec<Figure> + Send + Sync>;

/// The principal of whoever asks on this machine, where nobody has to say who asks.
const LOCAL_PRINCIPAL: &str = "app:local";

/// What a service may have beside its twin.
#[derive(Clone, Default)]
pub struct Options {
    /// Folder with the console's assets (what `npm ci` puts in `console/node_modules`); without
    /// it, `/graphql` says how to get them.
    pub assets: Option<PathBuf>,
    /// Folder with the built map (`map/build.mjs`); without it, `/map` says how to get it.
    pub map: Option<PathBuf>,
    /// Runs SurrealQL; without it, `/surql` says that there is none.
    pub surql: Option<SurqlFn>,
    /// Lines of attribution that the start page shows.
    pub attribution: Vec<String>,
    /// Takes a dead letter in again; without it, `retryDeadLetter` says that it cannot.
    pub retry: Option<RetryFn>,
    /// Figures of other rooms that `/metrics` shows beside its own.
    pub figures: Option<FiguresFn>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("assets", &self.assets)
            .field("map", &self.map)
            .field("surql", &self.surql.is_some())
            .field("attribution", &self.attribution)
            .field("retry", &self.retry.is_some())
            .field("figures", &self.figures.is_some())
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
    pub(crate) room: Arc<Semaphore>,
    /// Sockets that may be open at once.
    pub(crate) sockets: Arc<Semaphore>,
    /// Subscriptions that may be under way at once.
    pub(crate) subscriptions: Arc<Semaphore>,
    /// Bodies of `/bulk` that may be worked on at once.
    pub(crate) bulks: Arc<Semaphore>,
    /// Readers of `/log` that there may be at once.
    pub(crate) log_readers: Arc<Semaphore>,
    /// Whether sockets, bodies and logs have to end.
    pub(crate) closing: watch::Sender<bool>,
    /// Who writes, as long as nobody has to say who asks.
    pub(crate) principal: Principal,
}

/// One GraphQL request.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) query: String,
    pub(crate) operation: Option<String>,
    pub(crate) variables: Map<String, Json>,
    /// The position that the answer has to hold.
    pub(crate) after: Option<Position>,
    /// Its place among the requests that are worked on; goes with the work wherever it is done.
    pub(crate) room: Option<Room>,
}

/// A place among the requests that are worked on, until its last clone is gone.
pub(crate) type Room = Arc<OwnedSemaphorePermit>;

/// A request that is valid and within its limits.
#[derive(Debug)]
pub(crate) struct Prepared {
    document: Arc<Document>,
    operation: Option<String>,
    variables: Variables,
    cost: Cost,
    room: Option<Room>,
}

impl Prepared {
    /// What the executor needs of it.
    pub(crate) fn parts(
        &self,
    ) -> Result<
        (
            &ExecutableDocument,
            &Positioned<OperationDefinition>,
            &Variables,
        ),
        Fault,
    > {
        let Self {
            document,
            operation,
            variables,
            ..
        } = self;
        let operation = frame::operation(&document.parsed, operation.as_deref())?;
        Ok((&document.parsed, operation, variables))
    }
}

/// What becomes of a request.
pub(crate) enum Reply {
    Answer(Answer),
    Changes(Box<Changes>),
}

impl Service {
    /// The service of a twin.
    pub fn new(twin: Twin, options: Options) -> Result<Self, SchemaError> {
        let api = Api::new(Arc::clone(twin.view().ontology()));
        let frame = Frame::new(schema::build(&api)?);
        let room = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
        let sockets = Arc::new(Semaphore::new(MAX_SOCKETS));
        let subscriptions = Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS));
        let bulks = Arc::new(Semaphore::new(MAX_BULKS));
        let log_readers = Arc::new(Semaphore::new(MAX_LOG_READERS));
        let places = Places {
            bulks: Arc::clone(&bulks),
            log_readers: Arc::clone(&log_readers),
            room: Arc::clone(&room),
            sockets: Arc::clone(&sockets),
            subscriptions: Arc::clone(&subscriptions),
        };
        let metrics = Metrics::new(twin.clone(), places, options.figures.clone());
        let principal = Principal::new(LOCAL_PRINCIPAL)
            .map_err(|error| SchemaError::Invalid(error.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                twin,
                api,
                frame,
                options,
                metrics,
                room,
                sockets,
                subscriptions,
                bulks,
                log_readers,
                closing: watch::Sender::new(false),
                principal,
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

    /// Draws a tile with what it carries by itself, as `GET /tiles/{layer}/{z}/{x}/{y}.mvt` does; the
    /// bytes are a Mapbox Vector Tile.
    ///
    /// # Errors
    /// What is wrong with the question, or that it took too long.
    pub async fn tile(&self, layer: &str, z: u8, x: u32, y: u32) -> Result<Vec<u8>, String> {
        let view = self.inner.twin.view();
        let layer = Layer::compile(&self.inner.api, layer, &Asked::default());
        let layer = layer.map_err(|fault| fault.message)?;
        let tile = Tile::new(z, x, y).ok_or("there is no tile of that number")?;
        let drawn = self.draw(view, layer, tile, None).await;
        drawn
            .map(|drawn| drawn.bytes)
            .map_err(|fault| fault.message)
    }

    /// Draws a tile off the network's threads; a place among the requests goes with the work.
    pub(crate) async fn draw(
        &self,
        view: View,
        layer: Layer,
        tile: Tile,
        room: Option<Room>,
    ) -> Result<Drawn, Fault> {
        let (service, started) = (self.clone(), Instant::now());
        let drawn = tokio::task::spawn_blocking(move || {
            let _room = room;
            tiles::draw(&service.inner.api, &view, &layer, tile)
        });
        let drawn = drawn.await.map_err(|error| ended_badly(&error)).flatten();
        let metrics = &self.inner.metrics;
        match &drawn {
            Ok(drawn) => metrics.tile(None, Some((started.elapsed(), drawn.dropped))),
            Err(fault) => metrics.tile(Some(fault.code), None),
        }
        drawn
    }

    /// A place among the requests that are worked on; `None` if none came free in time.
    pub(crate) async fn room(&self) -> Option<Room> {
        let room = Arc::clone(&self.inner.room).acquire_owned();
        if let Ok(Ok(room)) = tokio::time::timeout(ROOM_PATIENCE, room).await {
            return Some(Arc::new(room));
        }
        self.inner.metrics.refused();
        None
    }

    /// The answer to a query or mutation.
    pub(crate) async fn answer(&self, question: Question) -> Answer {
        match self.reply(question).await {
            Reply::Answer(answer) => answer,
            Reply::Changes(_) => {
                let message = "subscriptions are offered over graphql-transport-ws at /graphql/ws";
                let position = self.inner.twin.view().position();
                exec::refusal(vec![Fault::invalid(message)], &position)
            }
        }
    }

    /// The answer to a query or mutation, or the changes of a subscription.
    pub(crate) async fn reply(&self, question: Question) -> Reply {
        let started = Instant::now();
        let reply = self.work(question).await;
        let codes = match &reply {
            Reply::Answer(answer) => answer.codes.as_slice(),
            Reply::Changes(_) => &[],
        };
        self.inner.metrics.answered(codes, started.elapsed());
        reply
    }

    /// Ends all sockets and waits until they are gone; no new ones are taken.
    pub async fn close(&self) {
        self.inner.closing.send_replace(true);
        // An error says that the places are gone, and so are the sockets.
        drop(self.inner.sockets.acquire_many(MAX_SOCKETS as u32).await);
    }

    async fn work(&self, mut question: Question) -> Reply {
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
            return Reply::Answer(exec::refusal(vec![fault], &twin.view().position()));
        };
        match self.plan_and_run(&view, &mut question).await {
            Ok(reply) => reply,
            Err(faults) => Reply::Answer(exec::refusal(faults, &view.position())),
        }
    }

    async fn plan_and_run(
        &self,
        view: &View,
        question: &mut Question,
    ) -> Result<Reply, Vec<Fault>> {
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
                let answer = exec::introspection(answer, &view.position());
                return Ok(Reply::Answer(answer));
            }
        }
        let ty = operation.node.ty;
        // A subscription lives on and has a place of its own.
        let room = question.room.take();
        let room = room.filter(|_| ty != OperationType::Subscription);
        let prepared = Arc::new(Prepared {
            operation: name,
            variables,
            cost,
            room,
            document,
        });
        match ty {
            OperationType::Query => self.query_now(view, prepared).await.map(Reply::Answer),
            OperationType::Mutation => self.mutate(prepared).await.map(Reply::Answer),
            OperationType::Subscription => self
                .subscribe(view, prepared)
                .map(|changes| Reply::Changes(Box::new(changes))),
        }
        .map_err(one)
    }

    async fn query_now(&self, view: &View, prepared: Arc<Prepared>) -> Result<Answer, Fault> {
        let (service, view) = (self.clone(), view.clone());
        work(prepared, move |prepared| {
            let (document, operation, variables) = prepared.parts()?;
            let Inner { api, twin, .. } = &*service.inner;
            // Such work is never done on the network's threads, so it may wait for the store.
            let history = prepared
                .cost
                .history
                .then(|| History::new(twin.clone(), Handle::current()));
            Ok(exec::query(
                api, &view, document, operation, variables, history,
            ))
        })
        .await?
    }

    fn subscribe(&self, view: &View, prepared: Arc<Prepared>) -> Result<Changes, Fault> {
        let (document, operation, variables) = prepared.parts()?;
        let (watch, from) = exec::watch(&self.inner.api, view, document, operation, variables)?;
        let place = Arc::clone(&self.inner.subscriptions).try_acquire_owned();
        let place = place.map_err(|_none_free| {
            Fault::new(
                Code::Limited,
                format!(
                    "{MAX_SUBSCRIPTIONS} subscriptions are under way, and no more are taken \
                     (MAX_SUBSCRIPTIONS): try again later"
                ),
            )
        })?;
        Changes::new(self.clone(), prepared, watch, &from, place)
    }

    /// Does the fields of a mutation one after another; the first that is refused ends it.
    async fn mutate(&self, prepared: Arc<Prepared>) -> Result<Answer, Fault> {
        let mut done = Vec::new();
        loop {
            let (service, place) = (self.clone(), done.len());
            let turn = work(Arc::clone(&prepared), move |prepared| {
                let (document, operation, variables) = prepared.parts()?;
                let Inner {
                    twin,
                    api,
                    principal,
                    ..
                } = &*service.inner;
                let view = twin.view();
                exec::turn(api, &view, document, operation, variables, principal, place)
            });
            let outcome = match turn.await.flatten() {
                Ok(None) => break,
                Ok(Some(Turn::Typename)) => {
                    done.push(Done::Typename);
                    continue;
                }
                Ok(Some(Turn::Do(Ok(deed)))) => self.carry_out(deed, &prepared).await,
                Ok(Some(Turn::Do(Err(fault)))) | Err(fault) => Err(fault),
            };
            match outcome {
                Ok(receipt) => done.push(Done::Receipt(receipt)),
                Err(mut fault) => {
                    let before = done
                        .iter()
                        .filter(|done| matches!(done, Done::Receipt(_)))
                        .count();
                    if before > 0 {
                        fault.message = format!(
                            "{} (the {before} before it in this request stay done)",
                            fault.message
                        );
                    }
                    done.push(Done::Refused(fault));
                    break;
                }
            }
        }
        let (document, operation, variables) = prepared.parts()?;
        // After the commits, so the position that the answer names holds them.
        let view = self.inner.twin.view();
        let api = &self.inner.api;
        exec::mutation(api, &view, document, operation, variables, &done)
    }

    /// Takes a dead letter in again.
    async fn retry(&self, number: u64) -> Result<Result<Receipt, Refusal>, Fault> {
        let Inner { twin, options, .. } = &*self.inner;
        let retry = options.retry.as_ref().ok_or_else(|| {
            let message = "this twin takes no messages of devices, and so no dead letters again";
            Fault::new(Code::Unavailable, message)
        })?;
        let kept = twin.dead_letters(number.saturating_add(1), 1).await;
        let kept = kept.map_err(|error| {
            let message = format!("dead letters cannot be read: {error}");
            Fault::new(Code::Unavailable, message)
        })?;
        let kept = kept.into_iter().find(|kept| kept.number == number);
        let kept = kept.ok_or_else(|| {
            let message = format!("there is no dead letter `{number}`, or not any more");
            Fault::new(Code::NotFound, message)
        })?;
        Ok(retry(kept.letter).await)
    }

    async fn carry_out(&self, deed: Deed, prepared: &Prepared) -> Result<Receipt, Fault> {
        let twin = &self.inner.twin;
        let receipt = match deed {
            Deed::Commit(commit) => twin.commit(commit).await,
            Deed::Record(readings) => twin.record(readings).await,
            Deed::Retry(number) => self.retry(number).await?,
            Deed::Rehearse(commit) => {
                let (twin, room) = (twin.clone(), prepared.room.clone());
                let rehearsal = tokio::task::spawn_blocking(move || {
                    let _room = room;
                    let position = twin.view().position();
                    twin.dry_run(&commit).map(|changes| Receipt {
                        position,
                        changes,
                        repeated: false,
                    })
                });
                rehearsal.await.map_err(|error| ended_badly(&error))?
            }
        };
        receipt.map_err(Fault::from)
    }
}

/// Does a piece of a request's work: at once if it is little, else off the network's threads, and
/// then the request's place goes with it, whatever becomes of who waits.
async fn work<T: Send + 'static>(
    prepared: Arc<Prepared>,
    piece: impl FnOnce(&Prepared) -> T + Send + 'static,
) -> Result<T, Fault> {
    if prepared.cost.is_small() {
        return Ok(piece(&prepared));
    }
    let piece = tokio::task::spawn_blocking(move || piece(&prepared));
    piece.await.map_err(|error| ended_badly(&error))
}

/// Waits until the service closes.
pub(crate) async fn closes(closing: &mut watch::Receiver<bool>) {
    // An error says that the service is gone, and so is what it carried.
    drop(closing.wait_for(|closing| *closing).await);
}

pub(crate) fn ended_badly(error: &dyn std::error::Error) -> Fault {
    tracing::error!(%error, "an answer ended badly");
    Fault::new(Code::Internal, "the answer ended badly; the log says more")
}

/// What a request is told that got no place.
pub(crate) fn no_room() -> Fault {
    Fault::new(
        Code::Unavailable,
        format!(
            "too many requests at once: {MAX_CONCURRENT_REQUESTS} are being answered \
             (MAX_CONCURRENT_REQUESTS); try again"
        ),
    )
}

/// What a request is told that took too long as a whole.
pub(crate) fn too_slow() -> Fault {
    Fault::new(
        Code::Timeout,
        format!(
            "the request took longer than {} s (REQUEST_TIMEOUT); what it wrote may be done all \
             the same: read before you repeat it",
            REQUEST_TIMEOUT.as_secs()
        ),
    )
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
