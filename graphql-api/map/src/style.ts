// The map's style: what is shown in, as MapLibre's style out. Pure, so that the map only ever has to be
// told the difference between two of them.
//
// # Invariants
// - Every address in it is of our own origin, and it names no fonts or sprites to fetch: MapLibre draws
//   the letters from the fonts of the browser.
// - Boundaries lie under everything else, the coarsest on top of the finer ones.

import type {
  ExpressionSpecification, FilterSpecification, LayerSpecification, SourceSpecification, StyleSpecification,
} from "maplibre-gl";
import { OTHER } from "./classify";
import { zoomFor } from "./geo";
import type { ClassModel, Model } from "./model";

export type Theme = "light" | "dark";

/** A class on the map. */
export interface Layer {
  model: ClassModel;
  /** Whether its areas divide the nation up: then it is drawn as lines and names, not as things. */
  boundary: boolean;
  /** Among boundaries, 0 for the coarsest. */
  rank: number;
  /** Its place in the palette. */
  hue: number;
  /** From this zoom on it is drawn, and named. */
  from: number;
  namedFrom: number;
  /** Where points of it begin to stand apart. */
  apart: number;
}

/** How a class is coloured by one of its values. */
export interface Coloring {
  of: string;
  by: string;
  color: ExpressionSpecification;
  /** The same of the mean of a cell; `null` where there is no mean of such values. */
  cells: ExpressionSpecification | null;
}

export interface Shown {
  theme: Theme;
  layers: Layer[];
  on: ReadonlySet<string>;
  coloring: Coloring | null;
  names: GeoJSON.FeatureCollection;
  selected: GeoJSON.FeatureCollection;
}

/**
 * Zoom up to which the map goes. Tiles of each are asked for: an enlarged one would come from a cache of
 * MapLibre's worker, which keeps it after it was asked for again.
 */
export const DEEPEST = 20;

/** Areas whose boxes cover this much of the nation divide it up. */
const DIVIDES = 0.5;
/** A boundary is drawn once its areas are about this wide, and named once they are this wide. */
const DRAWN_PIXELS = 40;
const NAMED_PIXELS = 100;
/** Once areas are wider than this, their name would float somewhere in the middle of nowhere. */
const UNNAMED_PIXELS = 2600;
/** Points stand apart once there is about this much room for each; before, they are smaller. */
const APART_PIXELS = 26;
/** Points are named once there is about this much room for each, and never in a view of the whole. */
const ROOM_PIXELS = 110;
const NAMED_CLOSE = 10.5;

/** Hues of things, told apart by people with any colour vision as far as so many can be. */
const HUES: Record<Theme, string[]> = {
  light: ["#c2410c", "#0f6cbd", "#0d7d63", "#9b4f96", "#a16207", "#0e7490", "#be3455", "#5b5fc7", "#4d7c0f", "#78554b"],
  dark: ["#ff9a62", "#6cb6ff", "#4fd1a8", "#dc9ad8", "#f0c24b", "#67d3e8", "#ff8fa6", "#a5a8ff", "#a9d65c", "#c9a396"],
};

interface Ink {
  sea: string;
  land: string;
  ink: string;
  halo: string;
  name: string;
  rim: string;
  accent: string;
}

export const INK: Record<Theme, Ink> = {
  light: { sea: "#e6ebed", land: "#fbfaf6", ink: "#47545e", halo: "#fffefb", name: "#2b3740", rim: "#ffffff", accent: "#0b6e6e" },
  dark: { sea: "#0c1116", land: "#161d24", ink: "#8fa3b3", halo: "#10161c", name: "#cfdae3", rim: "#10161c", accent: "#4fd6cf" },
};

export const colorOf = (layer: Layer, theme: Theme): string =>
  layer.boundary ? INK[theme].ink : HUES[theme][layer.hue % HUES[theme].length] ?? OTHER;

/** The layers of a nation, in the order of their packs: only what is somewhere. */
export function layersOf(model: Model): Layer[] {
  const [west, south, east, north] = model.bounds ?? [-180, -85, 180, 85];
  const nation = Math.max(1e-6, (east - west) * (north - south));
  /** How wide the share of each of so many is, in degrees. */
  const share = (of: ClassModel, cover: number) => Math.sqrt((nation * cover) / Math.max(1, of.count));
  const here = model.classes.filter((of) => of.geometry !== null);
  const divides = (of: ClassModel) => of.geometry === "area" && of.cover >= DIVIDES;
  const coarse = here.filter(divides).toSorted((a, b) => a.count - b.count);
  // Within a pack boundaries come first, the coarsest of them before the finer ones.
  const place = (of: ClassModel) => (divides(of) ? coarse.indexOf(of) : coarse.length);
  const sorted = here.toSorted((a, b) => (a.pack === b.pack ? place(a) - place(b) : 0));
  let hue = 0;
  return sorted.map((of) => {
    const boundary = divides(of);
    const width = share(of, boundary ? Math.min(1, of.cover) : 1);
    const rank = coarse.indexOf(of);
    return {
      model: of, boundary, rank, hue: boundary ? 0 : hue++,
      apart: Math.min(15, zoomFor(width, APART_PIXELS)),
      from: boundary && rank > 0 ? zoomFor(width, DRAWN_PIXELS) : 0,
      namedFrom: boundary ? zoomFor(width, NAMED_PIXELS) : Math.max(NAMED_CLOSE, zoomFor(width, ROOM_PIXELS)),
    };
  });
}

/** From where on the names of a boundary are left out. */
export const unnamedFrom = (layer: Layer): number => layer.namedFrom + Math.log2(UNNAMED_PIXELS / NAMED_PIXELS);

export const sourceOf = (layer: Layer): string => `twin-${layer.model.name}`;

const FONT = ["Inter", "system-ui", "Helvetica Neue", "Noto Sans", "Arial"];
export const IS_CELL: FilterSpecification = ["has", "cell"];
/** Twins of exactly a class: its tiles have those of subclasses too, which are layers of their own. */
const isTwin = (layer: Layer): FilterSpecification => ["==", ["get", "class"], layer.model.name];
const hover = (yes: number, no: number): ExpressionSpecification =>
  ["case", ["boolean", ["feature-state", "hover"], false], yes, no];
const byZoom = (...stops: [number, number | ExpressionSpecification][]): ExpressionSpecification =>
  ["interpolate", ["linear"], ["zoom"], ...stops.flat()] as ExpressionSpecification;

/** What is drawn of a class, by its depth in the map: fills, then lines, then points, then names. */
interface Parts {
  fills: LayerSpecification[];
  lines: LayerSpecification[];
  points: LayerSpecification[];
  names: LayerSpecification[];
}

function boundaryParts(layer: Layer, shown: Shown, coloring: Coloring | null): Parts {
  const { ink, land } = INK[shown.theme];
  const of = { source: sourceOf(layer), "source-layer": layer.model.name, minzoom: layer.from, filter: isTwin(layer) };
  const color = coloring?.color;
  const name = layer.model.name;
  const width = [1.5, 1.05, 0.75, 0.55, 0.45][layer.rank] ?? 0.4;
  const strength = [0.75, 0.55, 0.42, 0.34, 0.28][layer.rank] ?? 0.25;
  return {
    fills: [{
      id: `${name}-fill`, type: "fill", ...of,
      paint: color
        ? { "fill-color": color, "fill-opacity": hover(0.95, 0.8), "fill-antialias": false }
        // What cannot be seen can still be pointed at.
        : { "fill-color": layer.rank === 0 ? land : ink, "fill-opacity": layer.rank === 0 ? 1 : hover(0.07, 0) },
    }],
    lines: [{
      id: `${name}-line`, type: "line", ...of,
      layout: { "line-join": "round" },
      paint: {
        "line-color": ink,
        "line-opacity": byZoom([layer.from, strength * 0.55], [layer.from + 1.5, strength]),
        "line-width": byZoom([layer.from, width * 0.8], [layer.from + 5, width * 1.8]),
      },
    }],
    points: [],
    names: [],
  };
}

function thingParts(layer: Layer, shown: Shown, coloring: Coloring | null): Parts {
  const { rim, halo, name: nameInk } = INK[shown.theme];
  const own = colorOf(layer, shown.theme);
  const color = coloring?.color;
  const paint = color ?? own;
  const of = { source: sourceOf(layer), "source-layer": layer.model.name };
  const id = layer.model.name;
  const kind = ["geometry-type"] as ExpressionSpecification;
  const all = (...parts: FilterSpecification[]): FilterSpecification => ["all", ...parts] as FilterSpecification;
  return {
    fills: [
      {
        id: `${id}-fill`, type: "fill", ...of, filter: all(isTwin(layer), ["==", kind, "Polygon"]),
        paint: { "fill-color": paint, "fill-opacity": hover(color ? 0.95 : 0.4, color ? 0.8 : 0.22) },
      },
      {
        // Where there are too many points to draw each, a cell of them stands for how many there are.
        id: `${id}-cells`, type: "fill", ...of, filter: all(IS_CELL, ["==", kind, "Polygon"]),
        paint: {
          "fill-color": coloring?.cells ?? own,
          "fill-opacity": coloring?.cells ? 0.75 : ["interpolate", ["linear"], ["ln", ["max", 1, ["to-number", ["get", "count"]]]], 0, 0.16, 3, 0.45, 6, 0.75],
          "fill-outline-color": rim,
        },
      },
    ],
    lines: [{
      id: `${id}-line`, type: "line", ...of, filter: isTwin(layer),
      layout: { "line-join": "round", "line-cap": "round" },
      paint: { "line-color": layer.model.geometry === "area" ? own : paint, "line-width": byZoom([6, 0.8], [12, 1.6], [16, 3]), "line-opacity": 0.9 },
    }],
    points: [{
      id: `${id}-point`, type: "circle", ...of, filter: all(isTwin(layer), ["==", kind, "Point"]),
      paint: {
        "circle-color": paint,
        "circle-radius": byZoom(
          [layer.apart - 3, hover(3, 1.1)], [layer.apart - 1, hover(3.6, 1.8)], [layer.apart + 1, hover(5.2, 3.4)],
          [layer.apart + 4, hover(8, 5.5)], [layer.apart + 9, hover(11, 8.5)]),
        "circle-stroke-color": rim,
        "circle-stroke-width": byZoom([layer.apart - 2, 0.25], [layer.apart + 1, 0.9], [layer.apart + 5, 1.6]),
      },
    }],
    names: [{
      id: `${id}-name`, type: "symbol", ...of, minzoom: layer.namedFrom,
      filter: all(isTwin(layer), ["==", kind, "Point"]),
      layout: {
        "text-field": ["coalesce", ["get", "label"], ""], "text-font": FONT, "text-size": 11,
        "text-variable-anchor": ["top", "bottom", "left", "right"], "text-radial-offset": 0.8,
        "text-justify": "auto", "text-max-width": 9, "text-padding": 3,
      },
      paint: { "text-color": nameInk, "text-halo-color": halo, "text-halo-width": 1.4 },
    }],
  };
}

/** Names of boundaries, at a place of each that the page worked out, over points or under them. */
function nameParts(shown: Shown, over: boolean): LayerSpecification[] {
  const { halo, name, ink } = INK[shown.theme];
  const coarsest = (yes: unknown, no: unknown) => ["case", ["==", ["get", "rank"], 0], yes, no] as ExpressionSpecification;
  return [{
    id: over ? "names-over" : "names-under", type: "symbol", source: "names",
    ...(over ? { maxzoom: NAMED_CLOSE } : { minzoom: NAMED_CLOSE }),
    layout: {
      "text-field": ["get", "label"], "text-font": FONT, "text-size": ["get", "size"], "text-max-width": 7,
      "text-transform": coarsest("uppercase", "none"), "text-letter-spacing": coarsest(0.12, 0.01),
      "symbol-sort-key": ["get", "order"], "text-padding": 4,
    },
    paint: {
      "text-color": coarsest(ink, name), "text-halo-color": halo, "text-halo-width": 1.6, "text-halo-blur": 0.3,
      "text-opacity": coarsest(0.85, 0.95),
    },
  }];
}

function selectedParts(shown: Shown): LayerSpecification[] {
  const { accent, rim } = INK[shown.theme];
  const is = (type: string): FilterSpecification => ["==", ["geometry-type"], type];
  return [
    { id: "selected-fill", type: "fill", source: "selected", filter: is("Polygon"), paint: { "fill-color": accent, "fill-opacity": 0.1 } },
    { id: "selected-casing", type: "line", source: "selected", layout: { "line-join": "round" }, filter: ["!=", ["geometry-type"], "Point"], paint: { "line-color": rim, "line-width": 6, "line-opacity": 0.8 } },
    { id: "selected-line", type: "line", source: "selected", layout: { "line-join": "round" }, filter: ["!=", ["geometry-type"], "Point"], paint: { "line-color": accent, "line-width": 2.6 } },
    {
      id: "selected-point", type: "circle", source: "selected", filter: is("Point"),
      paint: { "circle-radius": byZoom([6, 9], [14, 13]), "circle-color": "rgba(0,0,0,0)", "circle-stroke-color": accent, "circle-stroke-width": 3 },
    },
  ];
}

/** The style in which this is shown. */
export function styleOf(shown: Shown, origin: string): StyleSpecification {
  const sources: Record<string, SourceSpecification> = {
    names: { type: "geojson", data: shown.names },
    selected: { type: "geojson", data: shown.selected },
  };
  const parts: { layer: Layer; parts: Parts }[] = [];
  for (const layer of shown.layers) {
    // The coarsest areas are the land that everything else lies on.
    const on = shown.on.has(layer.model.name);
    if (!on && layer.rank !== 0) continue;
    const coloring = shown.coloring?.of === layer.model.name ? shown.coloring : null;
    const attrs = ["class", "label", ...(coloring ? [coloring.by] : [])].join();
    const mean = coloring?.cells ? `&value=${coloring.by}` : "";
    // What is drawn ends at the edge of its tile, so what stands up too has to be on every tile that it reaches.
    sources[sourceOf(layer)] = {
      type: "vector", tiles: [`${origin}/tiles/${layer.model.name}/{z}/{x}/{y}.mvt?attrs=${attrs}&whole=false${mean}`],
      minzoom: Math.min(DEEPEST, Math.floor(layer.from)), maxzoom: DEEPEST, promoteId: "id",
    };
    const made = (layer.boundary ? boundaryParts : thingParts)(layer, shown, on ? coloring : null);
    parts.push({ layer, parts: on ? made : { ...made, lines: [], names: [] } });
  }
  // Coarse boundaries come first where they are filled and last where they are lines.
  const ordered = parts.toSorted((a, b) => Number(b.layer.boundary) - Number(a.layer.boundary) || a.layer.rank - b.layer.rank);
  const boundaries = ordered.filter(({ layer }) => layer.boundary);
  const things = ordered.filter(({ layer }) => !layer.boundary);
  const order = { area: 0, line: 1, point: 2 };
  const byKind = things.toSorted((a, b) => order[a.layer.model.geometry ?? "point"] - order[b.layer.model.geometry ?? "point"]);
  return {
    version: 8,
    sources,
    layers: [
      { id: "sea", type: "background", paint: { "background-color": INK[shown.theme].sea } },
      ...boundaries.flatMap(({ parts }) => parts.fills),
      ...byKind.flatMap(({ parts }) => parts.fills),
      ...boundaries.toReversed().flatMap(({ parts }) => parts.lines),
      ...byKind.flatMap(({ parts }) => parts.lines),
      // From afar names matter more than single points, close by it is the other way round.
      ...nameParts(shown, false),
      ...byKind.flatMap(({ parts }) => parts.points),
      ...selectedParts(shown),
      ...byKind.flatMap(({ parts }) => parts.names),
      ...nameParts(shown, true),
    ],
    transition: { duration: 200, delay: 0 },
  };
}
