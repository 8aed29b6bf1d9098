// Models looked at by the Khronos validator of glTF, and measured.
//
//   node models.mjs URL...
//
// Says of each model a line of JSON: what the validator found (errors, warnings, infos, hints and the first
// messages), the extras of its node, the triangles and the area in m² of each kind of surface, the volume in m³
// that its triangles enclose (of a closed solid), and how far it reaches east, up and south of its origin.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const validator = packages("gltf-validator");

for (const url of process.argv.slice(2)) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const { issues, info } = await validator.validateBytes(bytes, { maxIssues: 10, format: "glb" });
  process.stdout.write(
    JSON.stringify({
      errors: issues.numErrors,
      warnings: issues.numWarnings,
      infos: issues.numInfos,
      hints: issues.numHints,
      messages: issues.messages.map((message) => `${message.pointer}: ${message.message}`),
      triangles: info.totalTriangleCount,
      ...measured(bytes),
    }) + "\n",
  );
}

function measured(bytes) {
  const view = new DataView(bytes.buffer);
  const length = view.getUint32(12, true);
  const gltf = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
  const bin = 28 + length;
  const numbers = (index) => {
    const accessor = gltf.accessors[index];
    const start = bin + gltf.bufferViews[accessor.bufferView].byteOffset;
    const count = accessor.count * (accessor.type === "VEC3" ? 3 : 1);
    const get = accessor.componentType === 5126 ? "getFloat32" : "getUint32";
    return Array.from({ length: count }, (_, k) => view[get](start + 4 * k, true));
  };
  const surfaces = {};
  const least = [Infinity, Infinity, Infinity];
  const most = [-Infinity, -Infinity, -Infinity];
  let volume = 0;
  for (const primitive of gltf.meshes[0].primitives) {
    const positions = numbers(primitive.attributes.POSITION);
    const corners = numbers(primitive.indices);
    const place = (corner) => positions.slice(3 * corner, 3 * corner + 3);
    let area = 0;
    for (let k = 0; k < corners.length; k += 3) {
      const [a, b, c] = [0, 1, 2].map((n) => place(corners[k + n]));
      const [u, v] = [b, c].map((p) => p.map((x, n) => x - a[n]));
      const cross = [0, 1, 2].map((n) => u[(n + 1) % 3] * v[(n + 2) % 3] - u[(n + 2) % 3] * v[(n + 1) % 3]);
      area += Math.hypot(...cross) / 2;
      volume += a.reduce((sum, x, n) => sum + x * cross[n], 0) / 6;
      for (const p of [a, b, c]) {
        p.forEach((x, n) => {
          least[n] = Math.min(least[n], x);
          most[n] = Math.max(most[n], x);
        });
      }
    }
    surfaces[primitive.extras.surface] = { triangles: corners.length / 3, area };
  }
  return { extras: gltf.nodes[0].extras, surfaces, volume, least, most };
}
