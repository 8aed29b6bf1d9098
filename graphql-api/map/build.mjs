// Bundles the page into a folder: node build.mjs DIR. With --tests it bundles the tests instead, which
// `node --test DIR` then runs.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const [out, what] = process.argv.slice(2);
if (!out || (what && what !== "--tests")) {
  console.error("usage: node build.mjs DIR [--tests]");
  process.exit(2);
}
const here = import.meta.dirname;
await mkdir(out, { recursive: true });

if (what === "--tests") {
  const tests = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    entryPoints: tests.map((name) => join(here, "test", name)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
  });
} else {
  const common = { bundle: true, minify: true, target: "es2022", legalComments: "none" };
  await build({ ...common, entryPoints: [join(here, "src/main.ts")], outfile: join(out, "map.js"), format: "esm" });
  await build({ ...common, entryPoints: [join(here, "style.css")], outfile: join(out, "map.css") });
  // The map's worker is a script of its own that we serve, so that the content policy needs no blob:.
  const worker = await readFile(join(here, "node_modules/maplibre-gl/dist/maplibre-gl-worker.mjs"), "utf8");
  await writeFile(join(out, "worker.mjs"), worker.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n"));
  await copyFile(join(here, "node_modules/maplibre-gl/LICENSE.txt"), join(out, "LICENSE-maplibre-gl.txt"));
  // The page names its files with what is in them, so that a browser never mixes two builds.
  const hash = createHash("sha256");
  for (const name of ["map.js", "map.css", "worker.mjs"]) hash.update(await readFile(join(out, name)));
  const version = hash.digest("hex").slice(0, 12);
  const page = await readFile(join(here, "index.html"), "utf8");
  await writeFile(join(out, "index.html"), page.replaceAll("VERSION", version));
}
