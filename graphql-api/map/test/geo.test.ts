import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf, cover, join, mercator, middle, moments, overlap, shownPlace, zoomFor } from "../src/geo";

test("a box holds every point of a geometry of any kind", () => {
  assert.deepEqual(boxOf({ type: "Point", coordinates: [30, -2] }), [30, -2, 30, -2]);
  assert.deepEqual(boxOf({ type: "MultiPolygon", coordinates: [[[[1, 2], [3, 2], [3, 5], [1, 2]]], [[[-1, 0], [0, 0], [0, 1], [-1, 0]]]] }), [-1, 0, 3, 5]);
  assert.deepEqual(boxOf({ type: "GeometryCollection", geometries: [{ type: "Point", coordinates: [1, 1] }, { type: "Point", coordinates: [2, 0] }] } as never), [1, 0, 2, 1]);
  assert.equal(boxOf(null), null);
  assert.equal(boxOf({ type: "MultiPoint", coordinates: [] }), null);
});

test("boxes are joined and cut", () => {
  assert.deepEqual(join([0, 0, 1, 1], [2, -1, 3, 0]), [0, -1, 3, 1]);
  assert.deepEqual(join(null, [2, -1, 3, 0]), [2, -1, 3, 0]);
  assert.deepEqual(overlap([0, 0, 2, 2], [1, 1, 3, 3]), [1, 1, 2, 2]);
  assert.equal(overlap([0, 0, 1, 1], [2, 2, 3, 3]), null);
  assert.deepEqual(middle([0, 0, 2, 4]), [1, 2]);
});

test("the projection puts the corners of the world in the corners of its square", () => {
  assert.deepEqual(mercator(0, 0).map((v) => v.toFixed(9)), ["0.500000000", "0.500000000"]);
  const near = (found: number[], expected: number[]) => found.every((v, i) => Math.abs(v - (expected[i] ?? NaN)) < 1e-9);
  assert.ok(near(mercator(-180, 90), [0, 0]));
  assert.ok(near(mercator(180, -90), [1, 1]));
});

test("a point touches its tile of each zoom, and those beside it only where it is at their edge", () => {
  const kigali = [30.06, -1.95, 30.06, -1.95] as [number, number, number, number];
  for (let z = 0; z <= 14; z++) {
    const [x, y] = mercator(30.06, -1.95);
    const own = { z, x: Math.floor(x * 2 ** z), y: Math.floor(y * 2 ** z) };
    const tiles = cover(kigali, z, 100) ?? [];
    assert.ok(tiles.some((t) => t.x === own.x && t.y === own.y), `zoom ${z}`);
    assert.ok(tiles.length <= 4);
  }
  assert.equal(cover([0, 0, 0, 0], 1, 100)?.length, 4, "the middle of the world is at the edge of four tiles");
});

test("a box touches all tiles under it, unless they are too many", () => {
  assert.equal(cover([-180, -85.06, 180, 85.06], 3, 64)?.length, 64);
  assert.equal(cover([-180, -85.06, 180, 85.06], 3, 63), null);
});

test("a zoom makes something as wide as is wanted", () => {
  assert.equal(zoomFor(360, 512), 0);
  assert.equal(zoomFor(360, 1024), 1);
});

test("moments of a ring give its area and its centre, whichever way it goes round", () => {
  const square = [[10, 10], [12, 10], [12, 14], [10, 14], [10, 10]];
  for (const ring of [square, square.toReversed()]) {
    const [area, x, y] = moments(ring);
    assert.equal(Math.abs(area) / 2, 8);
    assert.ok(Math.abs(x / area - 11) < 1e-9 && Math.abs(y / area - 12) < 1e-9);
  }
});

test("a place is shown with its hemisphere", () => {
  assert.equal(shownPlace([30.0619, -1.9441]), "1.9441° S, 30.0619° E");
});
