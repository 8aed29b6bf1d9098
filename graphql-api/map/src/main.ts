// The page: the map, what lies around it, and what happens between them.

import * as maplibre from "maplibre-gl";
import type { MapGeoJSONFeature } from "maplibre-gl";
import { geometries, type Named } from "./api";
import { fill, get, h, icon } from "./dom";
import { boxOf, cover, join, middle, overlap, type Box, type TileId } from "./geo";
import { format, parse, type Link } from "./hash";
import { Legend } from "./legend";
import { follow, Gatherer, type Batch, type State as Connection } from "./live";
import { fetchModel, type Model } from "./model";
import { namesOf, type Piece } from "./names";
import { ago, Panel } from "./panel";
import { Search } from "./search";
import { colorOf, DEEPEST, IS_CELL, layersOf, sourceOf, styleOf, unnamedFrom, type Coloring, type Layer, type Theme } from "./style";
import { Tree } from "./tree";

/** Changes are gathered this long before the map asks again for what they touch. */
const GATHER = 200;
/** Most changed twins of a class that are looked at one by one; beyond, all its tiles are asked again. */
const MOST_SINGLE = 50;
/** Most tiles that are asked again one by one. */
const MOST_TILES = 200;
/** Most changed twins that are made to pulse at once. */
const MOST_PULSES = 24;
const PULSE_MS = 1_600;
/** First and longest wait before tiles that could not be loaded are asked for again, milliseconds. */
const RETRY = { first: 1_000, most: 15_000 };
/** How near the pointer has to be, in pixels. */
const REACH = 4;
/** Closest look at a single point. */
const CLOSE = 14.5;

const NOTHING: GeoJSON.FeatureCollection = { type: "FeatureCollection", features: [] };

/** What the map says went wrong; of a tile, also which. */
type Failure = maplibre.ErrorEvent & { sourceId?: string; tile?: { tileID: { canonical: TileId } } };

/** Calls together in a while count once. */
function soon(wait: number, work: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      work();
    }, wait);
  };
}

class Page {
  #model: Model;
  #layers: Layer[];
  #on: Set<string>;
  #theme: Theme;
  #coloring: Coloring | null = null;
  #names = NOTHING;
  #selected = NOTHING;
  #map: maplibre.Map;
  #tree: Tree;
  #legend: Legend;
  #panel: Panel;
  #ready = false;
  #styled = false;
  #connection: Connection = "connecting";
  #position: string;
  #changedAt: number | null = null;
  #refreshed = 0;
  #stale = false;
  /** Tiles that could not be loaded, by source. */
  #failed = new Map<string, TileId[]>();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryWait = RETRY.first;
  #notice: ReturnType<typeof setTimeout> | undefined;
  #hovered: { source: string; sourceLayer: string; id: string } | null = null;
  #sheet: "none" | "layers" | "color" = "none";
  #writeHash = soon(200, () => this.#toHash());
  #nameSoon = soon(120, () => this.#name());
  #panelSoon = soon(150, () => void this.#panel.again());
  // Where this fails the connection is lost, and once it is back the model is asked for again.
  #modelSoon = soon(1_500, () => void this.#remodel().catch(() => undefined));
  #recountSoon = soon(2_500, () => void this.#legend.again());

  constructor(model: Model) {
    const link = parse(location.hash);
    this.#model = model;
    this.#position = model.position;
    this.#layers = layersOf(model);
    this.#on = this.#first(link);
    this.#theme = theme();
    this.#map = this.#newMap(link);
    this.#panel = new Panel({
      model: () => this.#model,
      color: (of) => this.#colorOf(of),
      choose: (twin) => void this.select(twin.id, []),
      shown: (twin, box, first) => {
        const feature = { type: "Feature", properties: {}, geometry: twin.geometry } as unknown as GeoJSON.Feature;
        this.#selected = twin.geometry ? { type: "FeatureCollection", features: [feature] } : NOTHING;
        this.#draw();
        if (first && box && this.#flyFor === twin.id) this.#fly(box);
      },
      fly: (box) => this.#fly(box),
      closed: () => {
        this.#selected = NOTHING;
        this.#draw();
        this.#writeHash();
        this.#map.getCanvas().focus({ preventScroll: true });
      },
    });
    this.#tree = this.#newTree();
    this.#legend = new Legend(get("color"), model.classes, (coloring) => {
      this.#coloring = coloring;
      // What is coloured is meant to be seen.
      if (coloring && !this.#on.has(coloring.of)) {
        this.#on.add(coloring.of);
        this.#tree = this.#newTree();
      }
      this.#draw();
      this.#writeHash();
    });
    new Search(get<HTMLInputElement>("search"), get("found"), (name) => this.#label(name), (twin) => void this.select(twin.id, [], true));
    this.#listen();
    if (link.color) void this.#legend.choose(link.color.of, link.color.by);
    if (link.twin) void this.select(link.twin, [], link.place === null);
    this.#follow();
  }

  /** What a test may look at. */
  status(): object {
    return {
      ready: this.#ready, connection: this.#connection, position: this.#position, selected: this.#panel.id,
      refreshed: this.#refreshed, layers: [...this.#on], theme: this.#theme, moving: this.#map.isMoving(),
    };
  }

  get map(): maplibre.Map {
    return this.#map;
  }

  #first(link: Link): Set<string> {
    const on = new Set(this.#layers.map((layer) => layer.model.name));
    for (const name of link.off) on.delete(name);
    return on;
  }

  #label(name: string): string {
    return this.#model.classes.find((of) => of.name === name)?.label ?? name;
  }

  #layer(name: string): Layer | undefined {
    return this.#layers.find((layer) => layer.model.name === name);
  }

  #colorOf(name: string): string {
    const layer = this.#layer(name);
    return layer ? colorOf(layer, this.#theme) : "var(--soft)";
  }

  #newMap(link: Link): maplibre.Map {
    const { place } = link;
    const view = place
      ? { center: [place.lon, place.lat] as [number, number], zoom: place.zoom, bearing: place.bearing, pitch: place.pitch }
      : this.#model.bounds ? { bounds: this.#model.bounds, fitBoundsOptions: { padding: this.#padding() } } : {};
    maplibre.setWorkerUrl(new URL(`worker.mjs${new URL(import.meta.url).search}`, import.meta.url).href);
    const map = new maplibre.Map({
      container: "map", style: styleOf(this.#shown(), location.origin), ...view,
      attributionControl: false, maxPitch: 85, maxZoom: DEEPEST, fadeDuration: 150,
      // What lies outside the view may have changed when it comes back: the twin is asked again, and the
      // browser's own cache answers where its tag still holds.
      maxTileCacheSize: 0,
      locale: { "Map.Title": "Map. Arrow keys move it, + and − zoom, Enter selects what is in the middle." },
    });
    map.addControl(new maplibre.NavigationControl({ visualizePitch: true }), "bottom-right");
    map.addControl(new maplibre.ScaleControl({ maxWidth: 110 }), "bottom-left");
    return map;
  }

  #newTree(): Tree {
    const tree = new Tree(get("layers"), this.#layers, this.#on, () => {
      this.#draw();
      this.#nameSoon();
      this.#writeHash();
    });
    tree.show(this.#theme, this.#map.getZoom());
    return tree;
  }

  #shown() {
    return {
      theme: this.#theme, layers: this.#layers, on: this.#on, coloring: this.#coloring, names: this.#names, selected: this.#selected,
    };
  }

  #draw(): void {
    if (!this.#styled) return; // It is drawn as things are then.
    this.#map.setStyle(styleOf(this.#shown(), location.origin), { diff: true });
  }

  #listen(): void {
    const map = this.#map;
    map.once("style.load", () => {
      this.#styled = true;
      this.#draw();
    });
    map.once("idle", () => {
      this.#ready = true;
      document.body.classList.add("ready");
    });
    map.on("error", ({ error, sourceId, tile }: Failure) => {
      this.#complain(error.message);
      if (sourceId && tile) this.#retryLater(sourceId, tile.tileID.canonical);
    });
    map.on("idle", () => {
      if (!this.#failed.size) this.#retryWait = RETRY.first;
    });
    map.on("moveend", () => {
      this.#writeHash();
      this.#tree.show(this.#theme, map.getZoom());
      this.#nameSoon();
    });
    map.on("sourcedata", (event) => {
      if (event.sourceId?.startsWith("twin-")) this.#nameSoon();
    });
    map.on("click", (event) => this.#click(event.point));
    map.on("mousemove", (event) => this.#hover(event.point));
    map.on("mouseout", () => this.#hover(null));
    const canvas = map.getCanvas();
    canvas.addEventListener("keydown", (event) => {
      const { clientWidth, clientHeight } = canvas;
      if (event.key === "Enter") this.#click(new maplibre.Point(clientWidth / 2, clientHeight / 2));
      else if (event.key === "n") map.resetNorth();
      else if (event.key === "r" && this.#model.bounds) this.#fly(this.#model.bounds);
      else return;
      event.preventDefault();
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
      if (event.key === "/" && !typing) {
        event.preventDefault();
        get("search").focus();
      }
      if (event.key === "Escape") {
        if (this.#sheet !== "none") this.#open("none");
        else this.#panel.close();
      }
    });
    for (const sheet of ["layers", "color"] as const) {
      get(`tab-${sheet}`).addEventListener("click", () => this.#open(this.#sheet === sheet && phone() ? "none" : sheet));
    }
    this.#open(phone() ? "none" : "layers");
    get("theme").addEventListener("click", () => this.#setTheme(this.#theme === "light" ? "dark" : "light", true));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#setTheme(theme(), false));
    this.#setTheme(this.#theme, false);
    addEventListener("hashchange", () => {
      const link = parse(location.hash);
      if (link.place) map.jumpTo({ center: [link.place.lon, link.place.lat], zoom: link.place.zoom, bearing: link.place.bearing, pitch: link.place.pitch });
      if (link.twin && link.twin !== this.#panel.id) void this.select(link.twin, []);
      if (!link.twin) this.#panel.close();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#stale) this.#refreshAll();
    });
    setInterval(() => this.#tick(), 1_000);
    this.#tick();
  }

  #complain(message: string): void {
    const notice = get("notice");
    notice.hidden = false;
    notice.textContent = `Some of the map could not be loaded: ${message}`;
    clearTimeout(this.#notice);
    this.#notice = setTimeout(() => {
      notice.hidden = true;
    }, 8_000);
  }

  #open(sheet: "none" | "layers" | "color"): void {
    this.#sheet = sheet;
    for (const name of ["layers", "color"] as const) {
      get(name).hidden = sheet !== name;
      get(`tab-${name}`).setAttribute("aria-expanded", String(sheet === name));
    }
    document.body.classList.toggle("with-sheet", sheet !== "none");
  }

  #setTheme(to: Theme, keep: boolean): void {
    this.#theme = to;
    document.documentElement.dataset["theme"] = to;
    if (keep) localStorage.setItem("twin-map-theme", to);
    fill(get("theme"), icon(to === "light" ? "moon" : "sun"));
    get("theme").setAttribute("aria-label", to === "light" ? "Dark colours" : "Light colours");
    this.#tree.show(to, this.#map.getZoom());
    this.#panel.recolor();
    this.#draw();
  }

  // Selecting

  #flyFor: string | null = null;

  /** Opens the panel of a twin, and flies there if asked to. */
  async select(id: string, also: Named[], fly = true): Promise<void> {
    this.#flyFor = fly ? id : null;
    if (phone()) this.#open("none");
    const opened = this.#panel.open(id, also);
    this.#writeHash();
    await opened;
  }

  #padding(): maplibre.PaddingOptions {
    if (phone()) {
      const half = document.body.classList.contains("with-panel") ? innerHeight * 0.5 : 60;
      return { top: 76, bottom: half, left: 24, right: 24 };
    }
    const panel = document.body.classList.contains("with-panel");
    return { top: 40, bottom: 60, left: 330 + 30, right: (panel ? 380 : 0) + 40 };
  }

  #fly(box: Box): void {
    this.#map.fitBounds(box, { padding: this.#padding(), maxZoom: CLOSE, duration: 1_100 });
  }

  /** Twins and cells at a place, what is most likely meant first. */
  #at(point: maplibre.Point): MapGeoJSONFeature[] {
    const around: [[number, number], [number, number]] = [[point.x - REACH, point.y - REACH], [point.x + REACH, point.y + REACH]];
    // Areas are meant where they are, thin things also a little beside them.
    const near = this.#map.queryRenderedFeatures(around).filter((feature) => feature.layer.type !== "fill");
    const under = this.#map.queryRenderedFeatures(point).filter((feature) => feature.layer.type === "fill");
    const depth = (feature: MapGeoJSONFeature) => {
      const layer = this.#layer(feature.sourceLayer ?? "");
      const kind = { circle: 0, line: 1, fill: 2 }[feature.layer.type as string] ?? 3;
      return layer?.boundary ? 20 - layer.rank : kind;
    };
    const seen = new Set<string>();
    return [...near, ...under]
      .filter((feature) => feature.source.startsWith("twin-") && this.#on.has(feature.sourceLayer ?? "")
        && !(feature.layer.type === "line" && this.#layer(feature.sourceLayer ?? "")?.boundary))
      .toSorted((a, b) => depth(a) - depth(b))
      .filter((feature) => {
        const key = String(feature.properties["id"] ?? feature.id);
        return !seen.has(key) && seen.add(key);
      });
  }

  #click(point: maplibre.Point): void {
    const found = this.#at(point);
    const first = found[0];
    if (!first) {
      this.#panel.close();
      return;
    }
    if (first.properties["count"] !== undefined) {
      const box = boxOf(first.geometry as never);
      if (box) this.#map.fitBounds(box, { padding: this.#padding(), duration: 600 });
      return;
    }
    const named = found.filter((feature) => feature.properties["id"] !== undefined).map((feature) => ({
      id: String(feature.properties["id"]), class: feature.sourceLayer ?? "", label: (feature.properties["label"] as string | undefined) ?? null,
    }));
    const twin = named[0];
    if (twin) void this.select(twin.id, named.slice(1), false);
  }

  #hover(point: maplibre.Point | null): void {
    if (point && this.#map.isMoving()) return;
    const first = point ? this.#at(point)[0] : undefined;
    const tip = get("tip");
    const id = first?.properties["id"] as string | undefined;
    const target = first?.sourceLayer && id ? { source: first.source, sourceLayer: first.sourceLayer, id } : null;
    const before = this.#hovered;
    if (before && (before.id !== target?.id || before.source !== target?.source)) {
      // Its source may be gone with its layer.
      if (this.#map.getSource(before.source)) this.#map.setFeatureState(before, { hover: false });
      this.#hovered = null;
    }
    if (target && !this.#hovered) {
      this.#map.setFeatureState(target, { hover: true });
      this.#hovered = target;
    }
    this.#map.getCanvas().style.cursor = first ? "pointer" : "";
    tip.hidden = !first || !point;
    if (first && point) {
      const count = first.properties["count"] as number | undefined;
      const of = this.#label(first.sourceLayer ?? "");
      const coloring = this.#coloring;
      const colored = coloring && coloring.of === first.sourceLayer ? first.properties[coloring.by] : undefined;
      fill(tip, h("b", {}, count === undefined ? String(first.properties["label"] ?? id ?? "") : count.toLocaleString("en")), " ", h("span", {}, of),
        colored === undefined ? null : h("em", {}, ` ${colored}`));
      tip.style.transform = `translate(${point.x + 14}px, ${point.y + 14}px)`;
    }
  }

  // Names of boundaries

  #name(): void {
    const map = this.#map;
    const zoom = map.getZoom();
    const features: GeoJSON.Feature[] = [];
    for (const layer of this.#layers) {
      if (!layer.boundary || !this.#on.has(layer.model.name) || zoom < layer.namedFrom || zoom > unnamedFrom(layer)) continue;
      if (!map.getSource(sourceOf(layer))) continue;
      const pieces: Piece[] = map.querySourceFeatures(sourceOf(layer), { sourceLayer: layer.model.name })
        .filter((feature) => feature.properties["label"])
        .map((feature) => ({ id: String(feature.properties["id"]), label: String(feature.properties["label"]), geometry: feature.geometry as never }));
      for (const name of namesOf(pieces)) {
        const size = [14, 13, 11.5, 11, 10.5][layer.rank] ?? 10.5;
        features.push({
          type: "Feature", geometry: { type: "Point", coordinates: name.at },
          properties: { label: name.label, rank: layer.rank, size, order: layer.rank * 1e6 - name.area },
        });
      }
    }
    this.#names = { type: "FeatureCollection", features };
    (map.getSource("names") as maplibre.GeoJSONSource | undefined)?.setData(this.#names);
  }

  // What changes

  #follow(): void {
    const gatherer = new Gatherer(GATHER, (batch) => void this.#changed(batch));
    follow(this.#position, {
      change: (change) => gatherer.add(change),
      state: (state) => {
        const back = state === "live" && this.#connection === "lost";
        this.#connection = state;
        this.#tick();
        if (!back) return;
        // What was asked meanwhile has failed, and no change to come tells so.
        this.#modelSoon();
        this.#askAgain();
      },
      reset: async () => {
        await this.#remodel();
        this.#askAgain();
        return this.#model.position;
      },
    });
  }

  /** Asks again for all that is shown. */
  #askAgain(): void {
    this.#refreshAll();
    this.#recountSoon();
    void this.#panel.again();
  }

  async #changed(batch: Batch): Promise<void> {
    this.#position = batch.last?.position ?? this.#position;
    this.#changedAt = batch.last?.at ? Date.parse(batch.last.at) : Date.now();
    this.#tick();
    const selected = this.#panel.id;
    let structure = false;
    const work: Promise<void>[] = [];
    for (const [of, twins] of batch.changed) {
      const layer = this.#layer(of);
      const changes = [...twins.values()];
      structure ||= changes.some((change) => change.moved || change.gone);
      if (selected && twins.has(selected)) this.#panelSoon();
      if (this.#coloring?.of === of) this.#recountSoon();
      if (layer) work.push(this.#refresh(layer, twins));
    }
    // There may be more or fewer of them, or the first of a class.
    if (structure) this.#modelSoon();
    await Promise.all(work);
  }

  /** Asks again for the tiles in which changed twins are drawn or were drawn. */
  async #refresh(layer: Layer, twins: Map<string, { gone: boolean; moved: boolean; read: Set<string> }>): Promise<void> {
    const source = sourceOf(layer);
    if (!this.#map.getSource(source)) return;
    if (document.hidden) {
      this.#stale = true;
      return;
    }
    const drawn = [...twins].filter(([, { gone, moved, read }]) =>
      gone || moved || (this.#coloring?.of === layer.model.name && read.has(this.#coloring.by)));
    if (twins.size > MOST_SINGLE) {
      if (drawn.length) this.#reload(source, null);
      return;
    }
    const boxes = this.#loaded(layer, [...twins.keys()]);
    const pulses = new Map(boxes);
    // A cell does not say whom it counts, so where such a twin was drawn is not known.
    let anywhere = [...twins].some(([id, { gone, moved }]) => (gone || moved) && !boxes.has(id)) && this.#hasCells(layer);
    const asked = [...twins].filter(([id, { gone, moved }]) => !gone && (moved || !boxes.has(id))).map(([id]) => id);
    if (asked.length) {
      try {
        for (const [id, geometry] of await geometries(asked)) {
          const box = boxOf(geometry);
          if (!box) continue;
          boxes.set(id, join(boxes.get(id) ?? null, box) ?? box);
          pulses.set(id, box);
        }
      } catch {
        anywhere = true; // Where they are now is not known.
      }
    }
    const touched = drawn.map(([id]) => boxes.get(id)).filter((box) => box !== undefined);
    if (anywhere) this.#reload(source, null);
    else if (touched.length) this.#reload(source, this.#tiles(layer, touched));
    if (this.#on.has(layer.model.name)) this.#pulse([...pulses.values()]);
  }

  /** Whether cells are drawn of a class, which count twins instead of showing each. */
  #hasCells(layer: Layer): boolean {
    return this.#map.querySourceFeatures(sourceOf(layer), { sourceLayer: layer.model.name, filter: IS_CELL }).length > 0;
  }

  /** Boxes of twins as they are drawn now. */
  #loaded(layer: Layer, ids: string[]): Map<string, Box> {
    const boxes = new Map<string, Box>();
    const features = this.#map.querySourceFeatures(sourceOf(layer), {
      sourceLayer: layer.model.name, filter: ["in", ["get", "id"], ["literal", ids]],
    });
    for (const feature of features) {
      const id = String(feature.properties["id"]);
      const box = join(boxes.get(id) ?? null, boxOf(feature.geometry as never));
      if (box) boxes.set(id, box);
    }
    return boxes;
  }

  /** Tiles in view in which something in these boxes is drawn; `null` if they are too many to name. */
  #tiles(layer: Layer, boxes: Box[]): TileId[] | null {
    const bounds = this.#map.getBounds();
    const view: Box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    const deepest = Math.min(DEEPEST, Math.max(0, Math.floor(this.#map.getZoom()) + 1));
    // A tilted map has coarser tiles far away.
    const first = Math.max(Math.min(DEEPEST, Math.floor(layer.from)), deepest - 5);
    const tiles: TileId[] = [];
    for (const box of boxes) {
      const seen = overlap(box, view);
      if (!seen) continue;
      for (let z = first; z <= deepest; z++) {
        const part = cover(seen, z, MOST_TILES - tiles.length);
        if (!part) return null;
        tiles.push(...part);
      }
    }
    return tiles;
  }

  #reload(source: string, tiles: TileId[] | null): void {
    if (!this.#map.getSource(source) || tiles?.length === 0) return;
    if (tiles) {
      this.#map.refreshTiles(source, tiles);
    } else {
      // Failed tiles have to be named: without names MapLibre waits for them for ever, and asks nobody.
      this.#map.refreshTiles(source, this.#failed.get(source) ?? []);
      this.#failed.delete(source);
      this.#map.refreshTiles(source);
    }
    this.#refreshed += 1;
  }

  /** Asks again for a tile that failed, after a while that grows until everything is there. */
  #retryLater(source: string, tile: TileId): void {
    this.#failed.set(source, [...this.#failed.get(source) ?? [], tile]);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#retryWait = Math.min(this.#retryWait * 2, RETRY.most);
      for (const [source, tiles] of this.#failed) this.#reload(source, tiles);
      this.#failed.clear();
    }, this.#retryWait);
  }

  #refreshAll(): void {
    this.#stale = document.hidden;
    if (this.#stale) return;
    for (const layer of this.#layers) this.#reload(sourceOf(layer), null);
  }

  #pulse(boxes: Box[]): void {
    const bounds = this.#map.getBounds();
    for (const box of boxes.filter((box) => bounds.contains(middle(box))).slice(0, MOST_PULSES)) {
      const marker = new maplibre.Marker({ element: h("div", { class: "pulse", "aria-hidden": "true" }) }).setLngLat(middle(box)).addTo(this.#map);
      setTimeout(() => marker.remove(), PULSE_MS);
    }
  }

  async #remodel(): Promise<void> {
    this.#model = await fetchModel();
    showTwins(this.#model);
    this.#legend.offer(this.#model.classes);
    const layers = layersOf(this.#model);
    const names = (some: Layer[]) => some.map((layer) => layer.model.name).join();
    if (names(layers) === names(this.#layers)) {
      // Counts alone: whoever stands in the tree stays there.
      for (const [i, layer] of layers.entries()) Object.assign(this.#layers[i] ?? layer, layer);
      this.#tree.show(this.#theme, this.#map.getZoom());
      return;
    }
    for (const layer of layers) if (!this.#layer(layer.model.name)) this.#on.add(layer.model.name);
    this.#layers = layers;
    this.#tree = this.#newTree();
    this.#panel.recolor();
    this.#draw();
  }

  // What the page says of itself

  #tick(): void {
    const words = { connecting: "Connecting…", live: "Live", lost: "Connection lost" };
    const state = get("live");
    if (state.dataset["state"] !== this.#connection) {
      state.dataset["state"] = this.#connection;
      state.textContent = words[this.#connection];
      get("lost").hidden = this.#connection !== "lost";
    }
    get("position").textContent = this.#position;
    const now = Date.now();
    get("clock").textContent = `${new Date(now).toISOString().slice(11, 19)} UTC`;
    get("changed").textContent = this.#changedAt === null ? "" : `changed ${ago(this.#changedAt, now)}`;
    for (const time of document.querySelectorAll<HTMLElement>("time[data-ts]")) {
      time.textContent = ago(Number(time.dataset["ts"]), now);
    }
  }

  #toHash(): void {
    const { lng, lat } = this.#map.getCenter();
    const off = this.#layers.map((layer) => layer.model.name).filter((name) => !this.#on.has(name));
    const hash = format({
      place: { zoom: this.#map.getZoom(), lat, lon: lng, bearing: this.#map.getBearing(), pitch: this.#map.getPitch() },
      twin: this.#panel.id, color: this.#legend.link, off,
    });
    history.replaceState(null, "", hash);
  }
}

const phone = () => matchMedia("(max-width: 720px)").matches;

function theme(): Theme {
  const kept = localStorage.getItem("twin-map-theme");
  if (kept === "light" || kept === "dark") return kept;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function showTwins(model: Model): void {
  get("twins").textContent = model.classes.reduce((sum, of) => sum + of.count, 0).toLocaleString("en");
}

declare global {
  interface Window {
    /** For tests: the map, and what the page is about to do. */
    __twinMap?: { map: maplibre.Map; status(): object };
  }
}

async function start(): Promise<void> {
  const model = await fetchModel();
  const attribution = get("attribution");
  fill(attribution, ...(model.attribution.length ? model.attribution : ["No source data is loaded."]).map((line) => h("span", {}, line)));
  attribution.title = model.attribution.join("\n");
  showTwins(model);
  const page = new Page(model);
  window.__twinMap = { map: page.map, status: () => page.status() };
}

start().catch((error: unknown) => {
  const notice = get("notice");
  notice.hidden = false;
  notice.textContent = `The map could not start: ${error instanceof Error ? error.message : String(error)}`;
  console.error(error);
});
