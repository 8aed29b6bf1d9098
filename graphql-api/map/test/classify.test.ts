import assert from "node:assert/strict";
import { test } from "node:test";
import { breaks, categories, colorAt, colors, numberClasses, OTHER, RAMPS, shortNumber, type Weighted } from "../src/classify";

const each = (...values: number[]): Weighted<number>[] => values.map((value) => [value, 1]);

test("quantiles hold about as many values each", () => {
  const values = each(...Array.from({ length: 100 }, (_, i) => i * i));
  const classes = numberClasses(values, 5, "quantile", "viridis");
  assert.deepEqual(classes.map((c) => c.count), [20, 20, 20, 20, 20]);
  assert.equal(classes[0]?.lower, 0);
  assert.equal(classes.at(-1)?.upper, 99 * 99);
});

test("equal steps are as wide each, however the values lie", () => {
  const classes = numberClasses(each(0, 1, 2, 3, 100), 4, "equal", "cividis");
  assert.deepEqual(classes.map((c) => c.lower), [0, 25, 50, 75]);
  assert.deepEqual(classes.map((c) => c.count), [4, 0, 0, 1]);
});

test("equal values are never torn apart, and make fewer classes where they must", () => {
  assert.deepEqual(breaks([[1, 90], [2, 5], [3, 5]], 5, "quantile"), [1]);
  assert.deepEqual(breaks([[1, 2], [2, 2], [3, 2]], 5, "quantile"), [1, 2, 3]);
  const one = numberClasses([[7, 12]], 5, "quantile", "viridis");
  assert.equal(one.length, 1);
  assert.equal(one[0]?.count, 12);
});

test("counts add up to what was given, whatever the method", () => {
  let seed = 42;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const values = Array.from({ length: 500 }, (): Weighted<number> => [Math.round(random() ** 3 * 1000) / 10, 1 + Math.floor(random() * 4)]);
  const total = values.reduce((sum, [, n]) => sum + n, 0);
  for (const method of ["quantile", "equal"] as const) {
    for (let count = 2; count <= 9; count++) {
      const classes = numberClasses(values, count, method, "magma");
      assert.equal(classes.reduce((sum, c) => sum + c.count, 0), total);
      assert.ok(classes.length <= count);
      for (const [i, c] of classes.entries()) assert.ok(i === 0 || c.lower > (classes[i - 1]?.lower ?? NaN));
    }
  }
});

test("what is no number is left out, and nothing makes no class", () => {
  assert.deepEqual(numberClasses([[Number.NaN, 3]], 5, "equal", "viridis"), []);
  assert.equal(numberClasses([[Number.NaN, 3], [1, 2], [2, 1]], 2, "equal", "viridis").reduce((sum, c) => sum + c.count, 0), 3);
});

test("the most frequent values get the colours, the rest one together", () => {
  const values = Array.from({ length: 12 }, (_, i): Weighted<string> => [`v${i}`, 100 - i]);
  const classes = categories(values);
  assert.equal(classes.length, 7);
  assert.deepEqual(classes.at(-1), { value: null, color: OTHER, count: values.slice(6).reduce((sum, [, n]) => sum + n, 0) });
  assert.deepEqual(categories([["b", 1], ["a", 5]], ["b", "a"]).map((c) => c.value), ["b", "a"]);
});

test("ramps go from one end to the other, each lighter than before", () => {
  const light = (hex: string) => [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16))
    .reduce((sum, part, i) => sum + part * ([0.2126, 0.7152, 0.0722][i] ?? 0), 0);
  for (const ramp of ["viridis", "cividis", "magma"] as const) {
    assert.equal(colorAt(ramp, 0), RAMPS[ramp][0]);
    assert.equal(colorAt(ramp, 1), RAMPS[ramp].at(-1));
    const shades = colors(ramp, 9).map(light);
    for (const [i, shade] of shades.entries()) assert.ok(i === 0 || shade > (shades[i - 1] ?? NaN), ramp);
  }
});

test("numbers are short", () => {
  assert.deepEqual([0, 1234567, 12.345, 0.12345, -3.14159, 1e-7].map(shortNumber), ["0", "1,234,567", "12.3", "0.1235", "-3.14", "1.00e-7"]);
});
