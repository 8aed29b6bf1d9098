// Vector tiles read by the library that maps in browsers are drawn with: @mapbox/vector-tile.
//
//   node tiles.mjs URL...
//
// Says of each tile {"layers":{NAME:{"features":N,"extent":E,"version":V,"ids":[…],"kinds":[…]}}}, a
// line of JSON each. Rings are classified as the library does it, which needs them to wind rightly.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const { VectorTile, classifyRings } = await import(packages.resolve("@mapbox/vector-tile"));
const { PbfReader } = await import(packages.resolve("pbf"));

for (const url of process.argv.slice(2)) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const tile = new VectorTile(new PbfReader(new Uint8Array(await answer.arrayBuffer())));
  const layers = {};
  for (const [name, layer] of Object.entries(tile.layers)) {
    const found = { features: layer.length, extent: layer.extent, version: layer.version };
    found.ids = [];
    found.kinds = [];
    for (let i = 0; i < layer.length; i++) {
      const feature = layer.feature(i);
      const rings = feature.loadGeometry();
      if (!Number.isSafeInteger(feature.id)) throw new Error(`${url}: id ${feature.id}`);
      if (feature.type === 3) {
        for (const [outer, ...holes] of classifyRings(rings)) {
          const area = (ring) =>
            ring.reduce((sum, a, i) => {
              const b = ring[(i + 1) % ring.length];
              return sum + a.x * b.y - b.x * a.y;
            }, 0);
          if (area(outer) <= 0 || holes.some((hole) => area(hole) >= 0)) {
            throw new Error(`${url}: ${feature.properties.id} winds wrongly`);
          }
        }
      }
      found.ids.push(feature.properties.id ?? feature.properties.cell);
      found.kinds.push(feature.type);
    }
    layers[name] = found;
  }
  process.stdout.write(JSON.stringify({ layers }) + "\n");
}
