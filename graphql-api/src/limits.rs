//! Every limit of an answer, by name; messages name the one that was passed.

use std::time::Duration;

/// Most bytes of a request's body.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Most bytes of a query's text.
pub const MAX_QUERY_BYTES: usize = 128 << 10;
/// Most tokens (names, numbers, texts, punctuation) of a query.
pub const MAX_TOKENS: usize = 10_000;
/// Deepest nesting of fields, fragments counted as what they hold.
pub const MAX_DEPTH: usize = 24;
/// Deepest nesting of brackets of any kind in a query's text.
pub const MAX_NESTING: usize = 60;
/// Most fields that a query selects, each fragment counted wherever it is spread.
pub const MAX_SELECTIONS: usize = 5_000;
/// Most aliases, counted like selections.
pub const MAX_ALIASES: usize = 200;
/// Most fragment definitions of a query.
pub const MAX_FRAGMENTS: usize = 200;
/// Most nested lists of an introspection query; the usual tools need three.
pub const MAX_INTROSPECTION_LISTS: usize = 4;
/// Most twins that an answer may hold by its `first` arguments, nested ones multiplied.
pub const MAX_NODES: u64 = 200_000;
/// Most bytes of an answer.
pub const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Most errors of an answer; further ones are counted in the last.
pub const MAX_ERRORS: usize = 100;
/// Longest time that one answer is worked on.
pub const MAX_EXECUTION: Duration = Duration::from_secs(10);
/// Largest `first` and `k`.
pub const MAX_PAGE: usize = 1_000;
/// `first` where the query says nothing.
pub const DEFAULT_PAGE: usize = 50;
/// Shortest window by which history is summed up.
pub const MIN_WINDOW: Duration = Duration::from_secs(1);
/// Most series whose history one answer holds.
pub const MAX_SERIES: usize = 200;
/// Largest `first` of dead letters, which have payloads.
pub const MAX_LETTERS_PAGE: usize = 100;
/// Most conditions of one `where`.
pub const MAX_CONDITIONS: usize = 200;
/// Deepest nesting of `or`, `not` and relationships in one `where`.
pub const MAX_CONDITION_DEPTH: usize = 10;
/// Most texts, numbers or ids of one `in`.
pub const MAX_IN_VALUES: usize = 10_000;
/// Most properties that one `orderBy` names.
pub const MAX_ORDER_KEYS: usize = 8;
/// Most starting twins of a traversal.
pub const MAX_TRAVERSAL_STARTS: usize = 10_000;
/// Most steps of a traversal.
pub const MAX_TRAVERSAL_STEPS: usize = 16;
/// Most relationships that one `path` names.
pub const MAX_PATH_RELATIONSHIPS: usize = 32;
/// Most twins of a path.
pub const MAX_PATH_TWINS: usize = 5_000;
/// Most groups of one `aggregate`.
pub const MAX_GROUPS: usize = 20_000;
/// Most entries of its `by`.
pub const MAX_GROUP_KEYS: usize = 4;
/// Most entries of its `measures`.
pub const MAX_MEASURES: usize = 16;
/// Most series that the aggregates of one answer read.
pub const MAX_AGGREGATE_SERIES: usize = 2_000;
/// Most windows of one `aggregate`.
pub const MAX_AGGREGATE_WINDOWS: usize = 1_000;
/// Most bytes of the text of one `search`.
pub const MAX_SEARCH_BYTES: usize = 256;
/// Most words of it.
pub const MAX_SEARCH_WORDS: usize = 16;
/// Validated queries that are remembered.
pub const MAX_REMEMBERED_QUERIES: usize = 512;
/// Bytes that remembered queries take, parsed.
pub const MAX_REMEMBERED_BYTES: usize = 64 << 20;
/// Bytes that a byte of query text takes once it is parsed, at most.
pub const PARSED_BYTES: usize = 128;
/// `__schema` and `__type` of one operation.
pub const MAX_INTROSPECTIONS: usize = 2;
/// Bytes of one name or number of a query.
pub const MAX_WORD_BYTES: usize = 256;
/// Work (twins looked at or written) above which a question leaves the network's threads.
pub const INLINE_WORK: u64 = 5_000;
/// How long a request waits for the position that `Twin-After` names.
pub const AFTER_PATIENCE: Duration = Duration::from_secs(3);
/// Longest time that a whole HTTP request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Most requests that are worked on at once.
pub const MAX_CONCURRENT_REQUESTS: usize = 256;
/// How long a request waits for a place among them.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a SurrealQL text.
pub const MAX_SURQL_BYTES: usize = 64 << 10;
/// Most fields of one mutation request.
pub const MAX_MUTATIONS: usize = 50;
/// Most bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Most values in the arguments of a request, variables counted wherever they are used; a long text
/// counts as several.
pub const MAX_ARGUMENT_VALUES: u64 = 500_000;
/// Bytes of a text that count as one value.
pub const TEXT_BYTES_A_VALUE: u64 = 16;
/// Most sockets at once.
pub const MAX_SOCKETS: usize = 512;
/// Most queries, mutations and subscriptions under way on one socket.
pub const MAX_OPERATIONS_PER_SOCKET: usize = 16;
/// Most subscriptions at once, of all sockets. One that is far behind holds what it reads from the
/// store ([`CATCH_UP_BYTES`](twin_core::CATCH_UP_BYTES)).
pub const MAX_SUBSCRIPTIONS: usize = 1_024;
/// Most bytes of the id that a client gives an operation on its socket.
pub const MAX_OPERATION_ID_BYTES: usize = 128;
/// How long a new socket may take for `connection_init`.
pub const INIT_PATIENCE: Duration = Duration::from_secs(3);
/// How often a socket is pinged; one that was not heard of since the last time is closed.
pub const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a client may take to accept one message.
pub const SEND_PATIENCE: Duration = Duration::from_mins(1);
/// How long a client may take to answer that its socket closes.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Most events of a subscription that are written before the client takes them.
pub const MAX_EVENTS_AHEAD: usize = 64;
/// Bytes of such events after which no further one is written.
pub const MAX_EVENT_BYTES_AHEAD: usize = 256 << 10;
/// Most bodies of `/bulk` that are worked on at once.
pub const MAX_BULKS: usize = 4;
/// Most bytes of a line of such a body.
pub const MAX_BULK_LINE_BYTES: usize = 4 << 20;
/// Most lines that are committed together.
pub const MAX_BULK_GROUP_LINES: usize = 256;
/// Bytes of lines after which no further one is committed together with them.
pub const MAX_BULK_GROUP_BYTES: usize = 1 << 20;
/// Most groups whose results wait for the client.
pub const MAX_BULK_CHUNKS_AHEAD: usize = 4;
/// How long nothing may come of a body.
pub const BULK_IDLE: Duration = Duration::from_mins(1);
/// Longest time that a whole body may take.
pub const MAX_BULK_TIME: Duration = Duration::from_hours(1);
/// Most readers of `/log` at once. One that is far behind holds what it reads from the store
/// ([`CATCH_UP_BYTES`](twin_core::CATCH_UP_BYTES)).
pub const MAX_LOG_READERS: usize = 16;
/// Bytes of lines of `/log` after which no further one is sent together with them. Of a reader that
/// does not read two such chunks are held.
pub const MAX_LOG_CHUNK_BYTES: usize = 256 << 10;
/// How often a reader of `/log` to whom nothing is to be told gets a blank line.
pub const LOG_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Deepest zoom of a tile.
pub const MAX_TILE_ZOOM: u8 = 22;
/// Most shapes, points apart, that are looked at for one class of a tile: largest first by what the
/// index knows of their size.
pub const MAX_TILE_CANDIDATES: usize = 50_000;
/// Most lines and areas of a tile, largest first.
pub const MAX_TILE_FEATURES: usize = 20_000;
/// Most points of a tile; where there are more, they are counted by H3 cell.
pub const MAX_TILE_POINTS: usize = 10_000;
/// Vertices of lines and areas after which a tile takes no further one.
pub const MAX_TILE_VERTICES: usize = 500_000;
/// Bytes after which a tile takes no further feature.
pub const MAX_TILE_BYTES: usize = 8 << 20;
/// Longest time that one tile is worked on.
pub const MAX_TILE_TIME: Duration = MAX_EXECUTION;
/// Most properties and telemetries that one tile is asked for.
pub const MAX_TILE_ATTRIBUTES: usize = 32;
/// Properties and telemetries of a tile that names none, in the model's order.
pub const DEFAULT_TILE_ATTRIBUTES: usize = 16;
/// Most corners of all faces of a model.
pub const MAX_MODEL_CORNERS: usize = 500_000;
/// Most corners of one face of a model: cutting a face takes up to the square of them, and so does mending one
/// that crosses itself.
pub const MAX_MODEL_FACE_CORNERS: usize = 4_096;
/// Stack of the thread that draws a model: the library that cuts faces halves one that it finds no way through
/// again and again, at the worst once for each of its corners.
pub const MODEL_STACK_BYTES: usize = 32 << 20;
/// How many metres a model may reach from its origin: beyond it single precision is no longer exact to
/// a decimetre.
pub const MAX_MODEL_METRES: f64 = 1e6;
/// Longest time that one model is worked on.
pub const MAX_MODEL_TIME: Duration = MAX_EXECUTION;
