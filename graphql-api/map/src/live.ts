// What changes, as it happens: one subscription over graphql-transport-ws, kept up through breaks.
//
// # Invariants
// - Every change after the position it was started with is told once and in order, however often the
//   connection breaks; where that is not possible `reset` is called, and it goes on from a new position.
// - Whoever listens knows within `DEAD_AFTER` that the connection is gone.

const QUERY = `subscription Changes($after: String) {
  changes(after: $after) { position kind at id class reading { telemetry value ts } }
}`;

export interface Change {
  position: string;
  kind: "CREATED" | "UPDATED" | "DELETED" | "RELATED" | "RERELATED" | "UNRELATED" | "READING" | "GAP" | "RESET";
  at: string | null;
  id: string | null;
  class: string | null;
  reading: { telemetry: string; value: unknown; ts: string } | null;
}

export type State = "connecting" | "live" | "lost";

export interface Listener {
  change(change: Change): void;
  state(state: State): void;
  /** Something was missed: everything shown has to be asked again. Answers where to go on. */
  reset(): Promise<string>;
}

/** First and longest wait before it tries again, milliseconds. */
const RETRY = { first: 500, most: 8_000 };
/** How often the other side is asked whether it is there, and how long it may take to answer. */
const PING_EVERY = 10_000;
const DEAD_AFTER = 5_000;
/** How long a connection may take to come up. */
const UP_WITHIN = 10_000;

type Message =
  | { type: "connection_ack" | "ping" | "pong" | "complete" }
  | { type: "next"; payload: { data?: { changes: Change }; errors?: { message: string }[] } }
  | { type: "error"; payload: { message: string }[] };

/** Follows what changes after a position, until the page is gone. */
export function follow(after: string, listener: Listener): void {
  let position = after;
  let wait = RETRY.first;
  let reached = false;

  const again = () => {
    listener.state(reached ? "lost" : "connecting");
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, RETRY.most);
  };

  const connect = () => {
    const address = new URL("/graphql/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, "graphql-transport-ws");
    const send = (message: object) => socket.send(JSON.stringify(message));
    let pulse: ReturnType<typeof setInterval> | undefined;
    let dead = setTimeout(() => end(), UP_WITHIN);
    let over = false;
    let next: () => void = again;

    // A broken connection may not say so for minutes; we do not wait for its `onclose`.
    const end = () => {
      if (over) return;
      over = true;
      clearTimeout(dead);
      clearInterval(pulse);
      socket.close();
      next();
    };
    const missed = () => {
      next = () => {
        setTimeout(() => {
          listener.reset().then((here) => {
            position = here;
            connect();
          }, again);
        }, wait);
        wait = Math.min(wait * 2, RETRY.most);
      };
      end();
    };
    const alive = () => {
      clearTimeout(dead);
      dead = setTimeout(end, PING_EVERY + DEAD_AFTER);
    };

    socket.onopen = () => send({ type: "connection_init" });
    socket.onclose = end;
    socket.onerror = end;
    socket.onmessage = (event: MessageEvent<string>) => {
      if (over) return;
      alive();
      const message = JSON.parse(event.data) as Message;
      switch (message.type) {
        case "connection_ack":
          send({ type: "subscribe", id: "changes", payload: { query: QUERY, variables: { after: position } } });
          pulse = setInterval(() => send({ type: "ping" }), PING_EVERY);
          reached = true;
          listener.state("live");
          break;
        case "ping":
          send({ type: "pong" });
          break;
        case "next": {
          const change = message.payload.data?.changes;
          if (!change) {
            missed();
          } else if (change.kind === "GAP" || change.kind === "RESET") {
            missed();
          } else {
            position = change.position;
            wait = RETRY.first;
            listener.change(change);
          }
          break;
        }
        case "error": // Such as a position of a twin that was set back: nothing can be gone on with.
          missed();
          break;
        case "complete":
          end();
          break;
        case "pong":
          wait = RETRY.first;
          break;
      }
    };
  };
  connect();
}

/** What changed in a while, by class. */
export interface Batch {
  /** Ids whose structure or place may be another, with whether they are gone. */
  changed: Map<string, Map<string, { gone: boolean; moved: boolean; read: Set<string> }>>;
  last: Change | null;
  count: number;
}

const LOCATION = "location";

/** Gathers changes and hands them on together, soon after the first of them. */
export class Gatherer {
  #batch: Batch = { changed: new Map(), last: null, count: 0 };
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly within: number, readonly hand: (batch: Batch) => void) {}

  add(change: Change): void {
    const batch = this.#batch;
    batch.last = change;
    batch.count += 1;
    if (change.id !== null && change.class !== null) {
      const of = batch.changed.get(change.class) ?? new Map();
      batch.changed.set(change.class, of);
      const known = of.get(change.id) ?? { gone: false, moved: false, read: new Set<string>() };
      if (change.reading) known.read.add(change.reading.telemetry);
      known.gone = change.kind === "DELETED";
      known.moved ||= change.kind === "CREATED" || change.kind === "UPDATED" || change.reading?.telemetry === LOCATION;
      of.set(change.id, known);
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#batch = { changed: new Map(), last: null, count: 0 };
      this.hand(batch);
    }, this.within);
  }
}
