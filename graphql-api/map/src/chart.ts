// A line chart of readings: the mean as a line, from the smallest to the largest as a band.

import { h, svg } from "./dom";
import { shortNumber } from "./classify";
import type { Past } from "./api";

/** Round steps for an axis that covers a range with about so many of them. */
export function ticks(low: number, high: number, about: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999) ?? power * 10;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** A range with some air, which never has no height. */
export function padded(low: number, high: number): [number, number] {
  if (low === high) {
    const room = Math.abs(low) * 0.1 || 1;
    return [low - room, high + room];
  }
  const room = (high - low) * 0.08;
  // Zero is a good floor for what is never below it and comes near it.
  return [low >= 0 && low - room < (high - low) * 0.25 ? 0 : low - room, high + room];
}

/** Maps a range onto another. */
export function scale(from: [number, number], to: [number, number]): (value: number) => number {
  const factor = (to[1] - to[0]) / (from[1] - from[0] || 1);
  return (value) => to[0] + (value - from[0]) * factor;
}

/** Runs of points without a hole of more than so many milliseconds. */
export function runs(points: Past[], hole: number): Past[][] {
  const parts: Past[][] = [];
  let before = Number.NEGATIVE_INFINITY;
  for (const point of points) {
    if (point.ts - before > hole) parts.push([]);
    parts.at(-1)?.push(point);
    before = point.ts;
  }
  return parts;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const WINDOWS: [string, number][] = [
  ["PT1M", MINUTE], ["PT5M", 5 * MINUTE], ["PT15M", 15 * MINUTE], ["PT30M", 30 * MINUTE], ["PT1H", HOUR], ["PT3H", 3 * HOUR],
  ["PT6H", 6 * HOUR], ["PT12H", 12 * HOUR], ["P1D", DAY], ["P2D", 2 * DAY], ["P7D", 7 * DAY],
];

/** The window by which so much time gives at most so many points: its ISO duration and milliseconds. */
export function windowFor(span: number, most: number): [string, number] {
  return WINDOWS.find(([, length]) => span / length <= most) ?? ["P7D", 7 * DAY];
}

/** A time for people, as exact as the range asks for. */
function when(ts: number, span: number): string {
  const options: Intl.DateTimeFormatOptions = span <= 2 * DAY
    ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }
    : span <= 200 * DAY ? { day: "numeric", month: "short" } : { month: "short", year: "numeric" };
  return new Date(ts).toLocaleString("en-GB", { ...options, timeZone: "UTC" });
}

const [WIDTH, HEIGHT] = [340, 150];
const EDGE = { left: 38, right: 6, top: 8, bottom: 20 };

/** The chart; what the pointer or the arrow keys stand on is told in words below. */
export function chart(points: Past[], span: [number, number], window: number, label: string, unit: string): HTMLElement {
  const said = h("p", { class: "chart-said", "aria-live": "polite" });
  const first = points[0];
  if (!first) {
    return h("div", { class: "chart" }, h("p", { class: "soft" }, "No readings in this time."));
  }
  const low = points.reduce((least, p) => Math.min(least, p.min), first.min);
  const high = points.reduce((most, p) => Math.max(most, p.max), first.max);
  const range = padded(low, high);
  const x = scale(span, [EDGE.left, WIDTH - EDGE.right]);
  const y = scale(range, [HEIGHT - EDGE.bottom, EDGE.top]);
  const at = (value: number) => value.toFixed(1);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0,
    "aria-label": `${label}: ${points.length} values from ${shortNumber(low)} to ${shortNumber(high)} ${unit}. Arrow keys walk through them.`,
  });
  for (const tick of ticks(range[0], range[1], 4)) {
    picture.append(
      svg("line", { class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: at(y(tick)), y2: at(y(tick)) }),
      svg("text", { class: "tick", x: EDGE.left - 6, y: at(y(tick) + 3.5), "text-anchor": "end" }, shortNumber(tick)));
  }
  for (const part of [0, 0.5, 1]) {
    const ts = span[0] + (span[1] - span[0]) * part;
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    picture.append(svg("text", { class: "tick", x: at(x(ts)), y: HEIGHT - 5, "text-anchor": anchor }, when(ts, span[1] - span[0])));
  }
  for (const run of runs(points, window * 2.5)) {
    const line = (value: (p: Past) => number) => run.map((p) => `${at(x(p.ts))},${at(y(value(p)))}`);
    if (run.length > 1) {
      picture.append(
        svg("polygon", { class: "band", points: [...line((p) => p.max), ...line((p) => p.min).reverse()].join(" ") }),
        svg("polyline", { class: "line", points: line((p) => p.mean).join(" ") }));
    } else {
      picture.append(svg("circle", { class: "dot", cx: at(x(run[0]?.ts ?? 0)), cy: at(y(run[0]?.mean ?? 0)), r: 1.6 }));
    }
  }
  const mark = svg("line", { class: "mark", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, x1: 0, x2: 0, visibility: "hidden" });
  const dot = svg("circle", { class: "dot", r: 3, visibility: "hidden" });
  picture.append(mark, dot);
  let place = points.length - 1;
  const stand = (to: number) => {
    place = Math.min(points.length - 1, Math.max(0, to));
    const p = points[place] ?? first;
    for (const element of [mark, dot]) element.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) mark.setAttribute(end, at(x(p.ts)));
    dot.setAttribute("cx", at(x(p.ts)));
    dot.setAttribute("cy", at(y(p.mean)));
    const time = new Date(p.ts).toISOString().replace("T", " ").slice(0, 16);
    const spread = p.min === p.max ? "" : `, ${shortNumber(p.min)} to ${shortNumber(p.max)}`;
    said.textContent = `${time} UTC: ${shortNumber(p.mean)} ${unit}${spread}`;
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const ts = scale([EDGE.left, WIDTH - EDGE.right], span)(((event.clientX - box.left) / box.width) * WIDTH);
    const nearest = points.reduce((best, p, i) => (Math.abs(p.ts - ts) < Math.abs((points[best] ?? first).ts - ts) ? i : best), 0);
    stand(nearest);
  });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    stand(place + step);
  });
  const [a, b] = [points[0], points.at(-1)];
  said.textContent = a && b ? `${points.length === 1 ? "One value" : `${points.length} values`}, ${when(a.ts, 30 * DAY)} to ${when(b.ts, 30 * DAY)}` : "";
  return h("div", { class: "chart" }, picture, said);
}
