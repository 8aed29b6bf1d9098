// Values into classes with colours: quantiles or equal intervals for numbers, categories for the rest.
//
// # Invariants
// - Classes are in order, each has a colour, and their counts add up to the values that were given.
// - A number belongs to the class with lower <= value < upper; the last class has its upper bound too.

/** Ramps for what has an order; the lightness of each only goes one way, so they work in grey too. */
export const RAMPS = {
  viridis: ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"],
  cividis: ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],
  magma: ["#000004", "#140e36", "#3b0f70", "#641a80", "#8c2981", "#b73779", "#de4968", "#f7705c", "#fe9f6d", "#fecf92", "#fcfdbf"],
} as const;
export type Ramp = keyof typeof RAMPS;

/** Okabe and Ito's colours, which people with any colour vision tell apart; black is left out. */
export const CATEGORIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"] as const;

/** Colour of what is none of the others. */
export const OTHER = "#8a9199";

export const MIN_CLASSES = 2;
export const MAX_CLASSES = 9;

export interface NumberClass {
  lower: number;
  upper: number;
  count: number;
  color: string;
}

export interface Category {
  /** `null` stands for every value that has no class of its own. */
  value: string | number | boolean | null;
  count: number;
  color: string;
}

type Rgb = [number, number, number];

function rgb(hex: string): Rgb {
  const n = Number.parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

/** The colour at a place of a ramp, 0 to 1. */
export function colorAt(ramp: Ramp, place: number): string {
  const colors = RAMPS[ramp];
  const at = Math.min(1, Math.max(0, place)) * (colors.length - 1);
  const low = Math.min(Math.floor(at), colors.length - 2);
  const [a, b] = [rgb(colors[low] ?? OTHER), rgb(colors[low + 1] ?? OTHER)];
  const mix = a.map((from, i) => Math.round(from + ((b[i] ?? from) - from) * (at - low)));
  return `#${mix.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** So many colours of a ramp; its darkest and lightest ends are left out, because maps have both. */
export function colors(ramp: Ramp, count: number): string[] {
  const [from, to] = [0.08, 0.95];
  return Array.from({ length: count }, (_, i) =>
    colorAt(ramp, count === 1 ? 0.55 : from + ((to - from) * i) / (count - 1)));
}

/** A value and how often it comes. */
export type Weighted<T> = [value: T, count: number];

/** Where classes begin: so that each holds about as many values, or is about as wide. */
export function breaks(values: Weighted<number>[], count: number, method: "quantile" | "equal"): number[] {
  const sorted = values.filter(([value]) => Number.isFinite(value)).toSorted((a, b) => a[0] - b[0]);
  const [first, last] = [sorted[0]?.[0], sorted.at(-1)?.[0]];
  if (first === undefined || last === undefined) return [];
  const starts = [first];
  if (method === "equal") {
    for (let i = 1; i < count; i++) starts.push(first + ((last - first) * i) / count);
  } else {
    const total = sorted.reduce((sum, [, n]) => sum + n, 0);
    let before = 0;
    for (const [value, n] of sorted) {
      // A class begins with the value that stands where it should, never in the midst of equals.
      while (starts.length < count && before + n > (total * starts.length) / count) starts.push(value);
      before += n;
    }
  }
  return [...new Set(starts)];
}

/** Numbers in classes. */
export function numberClasses(
  values: Weighted<number>[], wanted: number, method: "quantile" | "equal", ramp: Ramp,
): NumberClass[] {
  const finite = values.filter(([value]) => Number.isFinite(value));
  const starts = breaks(finite, Math.min(MAX_CLASSES, Math.max(MIN_CLASSES, wanted)), method);
  const last = finite.reduce((most, [value]) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const shades = colors(ramp, starts.length);
  const classes = starts.map((lower, i) => ({
    lower, upper: starts[i + 1] ?? last, count: 0, color: shades[i] ?? OTHER,
  }));
  for (const [value, n] of finite) {
    const at = classes.findLastIndex((entry) => value >= entry.lower);
    const entry = classes[at];
    if (entry) entry.count += n;
  }
  return classes;
}

/** The most frequent values with a colour each, and one class for the rest. */
export function categories<T extends string | number | boolean>(values: Weighted<T>[], order?: readonly T[]): Category[] {
  const byCount = values.toSorted((a, b) => b[1] - a[1] || (String(a[0]) < String(b[0]) ? -1 : 1));
  const room = CATEGORIES.length;
  const shown = byCount.slice(0, byCount.length > room ? room - 1 : room);
  const rest = byCount.slice(shown.length).reduce((sum, [, count]) => sum + count, 0);
  // Where the model names values in an order, a reader expects that order.
  const place = (value: T) => order?.indexOf(value) ?? -1;
  if (order) shown.sort((a, b) => place(a[0]) - place(b[0]));
  const classes: Category[] = shown.map(([value, count], i) => ({ value, count, color: CATEGORIES[i] ?? OTHER }));
  if (rest > 0) classes.push({ value: null, count: rest, color: OTHER });
  return classes;
}

/** A number for people: three to four digits that matter, thousands apart. */
export function shortNumber(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return value.toExponential(2);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: Number.isInteger(value) ? 0 : digits });
}
