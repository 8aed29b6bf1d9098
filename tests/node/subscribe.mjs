// A subscriber that nobody here wrote: graphql-ws over ws.
//
//   node subscribe.mjs URL QUERY VARIABLES
//
// Writes a line of JSON for each thing that happens: {"connected":true}, {"next":{...}},
// {"error":[...]}, {"complete":true}, {"closed":{"code":1006,"reason":""}}. It never reconnects by
// itself: the test says from where to go on. It ends when its subscription or its connection does.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const { createClient } = packages("graphql-ws");
const WebSocket = packages("ws");

const [url, query, variables] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: 0,
  on: {
    connected: () => say({ connected: true }),
    closed: ({ code, reason }) => say({ closed: { code, reason: String(reason ?? "") } }),
  },
  onNonLazyError: () => {}, // The close says it.
});

client.subscribe(
  { query, variables: JSON.parse(variables) },
  {
    next: (answer) => say({ next: answer }),
    error: (error) => {
      if (Array.isArray(error)) say({ error });
      process.exitCode = 1;
      client.dispose();
    },
    complete: () => {
      say({ complete: true });
      client.dispose();
    },
  },
);
