// A device that nobody here wrote: mqtt.js that listens.
//
//   node listen.mjs URL VERSION TOPIC QOS
//
// Says {"subscribed":QOS} once it is (128 and above: refused), then each message as
// {"topic":...,"payload":...,"qos":...,"retain":...}, a line of JSON each. VERSION is 4 (3.1.1) or 5.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const mqtt = packages("mqtt");

const [url, version, topic, qos] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const client = mqtt.connect(url, { protocolVersion: Number(version), reconnectPeriod: 0 });
client.on("error", (error) => {
  say({ error: error.message });
  process.exitCode = 1;
  client.end(true);
});
client.on("message", (topic, payload, packet) =>
  say({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain }),
);
client.on("connect", () =>
  client.subscribe(topic, { qos: Number(qos) }, (error, granted) =>
    say({ subscribed: error ? (error.code ?? 128) : granted[0].qos }),
  ),
);
