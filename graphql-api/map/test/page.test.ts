import assert from "node:assert/strict";
import { test } from "node:test";
import { padded, runs, scale, ticks, windowFor } from "../src/chart";
import { format, parse, type Link } from "../src/hash";
import { Gatherer, type Batch, type Change } from "../src/live";
import { unitSign, words, type ClassModel, type Model } from "../src/model";
import { namesOf } from "../src/names";
import { ago } from "../src/panel";
import { layersOf, styleOf } from "../src/style";
import { marked } from "../src/text";

test("a link says what it was made of", () => {
  const link: Link = {
    place: { zoom: 9.25, lat: -1.944, lon: 30.062, bearing: 12, pitch: 40 },
    twin: "rw:district:11", color: { of: "Village", by: "population" }, off: ["Cell", "Sector"],
  };
  assert.deepEqual(parse(format(link)), link);
  assert.equal(format({ place: null, twin: null, color: null, off: [] }), "");
});

test("what makes no sense in a link is left out", () => {
  for (const hash of ["", "#", "#map=x/y/z&twin=<script>&color=a", "#map=99/0/0", "#map=5/91/0", "#twin=%20", "#map=5//3"]) {
    assert.deepEqual(parse(hash), { place: null, twin: null, color: null, off: [] }, hash);
  }
  assert.equal(parse("#twin=a+b").twin, null);
  assert.deepEqual(parse("#off=Cell,../x,Village").off, ["Cell", "Village"]);
});

test("axes have round steps within their range", () => {
  assert.deepEqual(ticks(0, 100, 4), [0, 25, 50, 75, 100]);
  assert.deepEqual(ticks(3, 19, 4), [5, 10, 15]);
  assert.deepEqual(ticks(0.1, 0.35, 5), [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]);
  assert.deepEqual(ticks(5, 5, 4), [5]);
});

test("a range has height, and zero for a floor where it is near", () => {
  assert.deepEqual(padded(5, 5), [4.5, 5.5]);
  assert.deepEqual(padded(0, 0), [-1, 1]);
  assert.equal(padded(2, 50)[0], 0);
  assert.ok(padded(900, 1000)[0] > 800);
  assert.ok(padded(-5, 5)[0] < -5);
});

test("scales map both ends, upside down too", () => {
  const y = scale([0, 10], [100, 0]);
  assert.deepEqual([0, 5, 10].map(y), [100, 50, 0]);
});

test("a line breaks where readings are missing", () => {
  const at = (ts: number) => ({ ts, mean: 1, min: 1, max: 1 });
  assert.deepEqual(runs([0, 1, 2, 10, 11].map(at), 3).map((run) => run.length), [3, 2]);
  assert.deepEqual(runs([], 3), []);
});

test("a window gives no more points than are wanted", () => {
  assert.deepEqual(windowFor(86_400_000, 180), ["PT15M", 900_000]);
  assert.deepEqual(windowFor(365 * 86_400_000, 180), ["P7D", 604_800_000]);
});

test("changes are gathered by class and twin, and handed on once", async () => {
  const batches: Batch[] = [];
  const gatherer = new Gatherer(5, (batch) => batches.push(batch));
  const change = (kind: Change["kind"], id: string, telemetry?: string): Change =>
    ({ position: `main:${id}`, kind, at: null, id, class: "Station", reading: telemetry ? { telemetry, value: 1, ts: "" } : null });
  gatherer.add(change("READING", "a", "pm25"));
  gatherer.add(change("UPDATED", "a"));
  gatherer.add(change("DELETED", "b"));
  gatherer.add(change("READING", "c", "location"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(batches.length, 1);
  const of = batches[0]?.changed.get("Station");
  assert.deepEqual(of?.get("a"), { gone: false, moved: true, read: new Set(["pm25"]) });
  assert.equal(of?.get("b")?.gone, true);
  assert.equal(of?.get("c")?.moved, true);
  assert.equal(batches[0]?.count, 4);
});

test("times are told as people tell them", () => {
  const now = Date.parse("2026-11-21T10:00:00Z");
  assert.equal(ago(now - 500, now), "just now");
  assert.equal(ago(now - 42_000, now), "42 s ago");
  assert.equal(ago(now - 1_800_000, now), "30 min ago");
  assert.equal(ago(Date.parse("2025-02-12T07:00:00Z"), now), "2025-02-12 07:00 UTC");
});

test("names of units and choices are written for people", () => {
  assert.equal(unitSign("microgramPerCubicMetre"), "µg/m³");
  assert.equal(unitSign("personPerHousehold"), "person per household");
  assert.equal(unitSign(null), "");
  assert.equal(words("notFunctional"), "Not functional");
});

test("what was looked for is marked, whatever its case and marks", () => {
  assert.deepEqual(marked("École Gatare", "ecole"), [["École", true], [" Gatare", false]]);
  assert.deepEqual(marked("Muhima Health Centre", "cen muh").filter(([, hit]) => hit).map(([part]) => part), ["Muh", "Cen"]);
  assert.deepEqual(marked("Kigali", "x"), [["Kigali", false]]);
});

test("an area that tiles cut has one name, at the centre of all its pieces", () => {
  const square = (w: number, e: number) => ({ type: "Polygon", coordinates: [[[w, 0], [e, 0], [e, 2], [w, 2], [w, 0]]] });
  const names = namesOf([
    { id: "a", label: "A", geometry: square(0, 2) }, { id: "b", label: "B", geometry: square(5, 6) }, { id: "a", label: "A", geometry: square(2, 4) },
  ]);
  assert.deepEqual(names.map(({ id, at }) => [id, ...at.map((v) => Number(v.toFixed(6)))]), [["a", 2, 1], ["b", 5.5, 1]]);
});

const of = (name: string, geometry: ClassModel["geometry"], count: number, cover: number): ClassModel => ({
  name, label: name, description: "", plural: name, pack: "p", count, geometry, cover, properties: [], telemetry: [], relationships: [],
});
const model: Model = {
  position: "main:1", bounds: [29, -3, 31, -1], attribution: [],
  classes: [of("Province", "area", 5, 1.4), of("Village", "area", 14_814, 1.5), of("Lake", "area", 20, 0.1), of("Clinic", "point", 500, 0), of("Ministry", null, 3, 0)],
};

test("areas that divide the nation are boundaries, the finer the closer", () => {
  const layers = layersOf(model);
  assert.deepEqual(layers.map((l) => [l.model.name, l.boundary, l.rank]), [["Province", true, 0], ["Village", true, 1], ["Lake", false, -1], ["Clinic", false, -1]]);
  assert.equal(layers[0]?.from, 0);
  assert.ok((layers[1]?.from ?? 0) > 9 && (layers[1]?.from ?? 0) < 13);
});

test("a style names nobody's address but ours, and no fonts or pictures", () => {
  const layers = layersOf(model);
  const nothing = { type: "FeatureCollection" as const, features: [] };
  for (const theme of ["light", "dark"] as const) {
    const coloring = { of: "Clinic", by: "beds", color: ["get", "beds"] as never, cells: ["get", "mean"] as never };
    const style = styleOf({ theme, layers, on: new Set(["Province", "Clinic"]), coloring, names: nothing, selected: nothing }, "http://127.0.0.1:1");
    const addresses = JSON.stringify(style).match(/https?:[^"]*/g) ?? [];
    assert.deepEqual(addresses, [
      "http://127.0.0.1:1/tiles/Province/{z}/{x}/{y}.mvt?attrs=class,label&whole=false",
      "http://127.0.0.1:1/tiles/Clinic/{z}/{x}/{y}.mvt?attrs=class,label,beds&whole=false&value=beds",
    ]);
    assert.equal(style.glyphs, undefined);
    assert.equal(style.sprite, undefined);
    const ids = style.layers.map((layer) => layer.id);
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(!ids.some((id) => id.startsWith("Lake") || id.startsWith("Village")));
    assert.ok(ids.indexOf("Province-line") < ids.indexOf("Clinic-point"));
  }
});
