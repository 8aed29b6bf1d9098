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
