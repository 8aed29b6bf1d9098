// A device that nobody here wrote: mqtt.js over a WebSocket.
//
//   node mqtt.mjs URL VERSION TOPIC MESSAGE OPTIONS
//
// Publishes once with QoS 1 and says what came of it in a line of JSON: {"published":true}, or
// {"error":"..."} with exit code 1. VERSION is 4 (3.1.1) or 5; OPTIONS are more of the client's, such
// as {"wsOptions":{"origin":"http://elsewhere.example"}}, and "pad", spaces to put after the message. It
// never connects again by itself.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const mqtt = packages("mqtt");

const [url, version, topic, message, options] = process.argv.slice(2);
const { pad = 0, ...more } = JSON.parse(options);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const client = mqtt.connect(url, {
  protocolVersion: Number(version),
  reconnectPeriod: 0,
  connectTimeout: 30_000,
  ...more,
});

let done = false;
client.on("close", () => {
  // A refused handshake is no error to mqtt.js, it only closes.
  if (done) return;
  say({ error: "closed before it was published" });
  process.exitCode = 1;
});
client.on("error", (error) => {
  done = true;
  say({ error: error.message });
  process.exitCode = 1;
  client.end(true);
});
client.on("connect", () => {
  client.publish(topic, message + " ".repeat(pad), { qos: 1 }, (error) => {
    if (error) return client.emit("error", error);
    done = true;
    say({ published: true });
    client.end();
  });
});
