// The tree of layers: packs and their classes, each with its colour, its count and a box to tick.

import { fill, h, icon } from "./dom";
import { capital } from "./model";
import { colorOf, type Layer, type Theme } from "./style";

export class Tree {
  #rows = new Map<string, { row: HTMLElement; box: HTMLInputElement; n: HTMLElement; key: HTMLElement; hint: HTMLElement }>();
  #packs: { box: HTMLInputElement; names: string[] }[] = [];
  #solo: ReadonlySet<string> | null = null;

  constructor(place: HTMLElement, readonly layers: Layer[], readonly on: Set<string>, readonly tell: () => void) {
    const packs = Map.groupBy(layers, (layer) => layer.model.pack);
    fill(place, ...[...packs].map(([pack, layers]) => this.#pack(pack, layers)));
    if (!layers.length) fill(place, h("p", { class: "soft" }, "Nothing here has a place yet: import data, and it shows."));
    this.#sync();
  }

  /** Counts, colours and what is drawn at this zoom, as they are now. */
  show(theme: Theme, zoom: number): void {
    for (const layer of this.layers) {
      const parts = this.#rows.get(layer.model.name);
      if (!parts) continue;
      parts.n.textContent = layer.model.count.toLocaleString("en");
      parts.key.style.setProperty("--key", colorOf(layer, theme));
      const far = zoom < layer.from;
      parts.row.classList.toggle("far", far);
      parts.hint.textContent = far ? "shown when closer" : "";
    }
  }

  #pack(pack: string, layers: Layer[]): HTMLElement {
    const names = layers.map((layer) => layer.model.name);
    const box = h("input", { type: "checkbox", id: `pack-${pack}`, on: { change: () => {
      for (const name of names) this.#set(name, box.checked);
      this.#changed();
    } } });
    this.#packs.push({ box, names });
    return h("fieldset", { class: "pack" },
      h("legend", {}, h("label", {}, box, h("span", {}, capital(pack)))),
      h("ul", {}, ...layers.map((layer) => this.#row(layer))));
  }

  #row(layer: Layer): HTMLElement {
    const { name, label, description, geometry } = layer.model;
    const box = h("input", { type: "checkbox", id: `layer-${name}`, "aria-describedby": `about-${name}`, on: { change: () => {
      this.#set(name, box.checked);
      this.#changed();
    } } });
    const n = h("span", { class: "n" });
    const key = h("span", { class: `key ${layer.boundary ? "boundary" : geometry ?? ""}`, "aria-hidden": "true" });
    const hint = h("small", { class: "hint" });
    const solo = h("button", {
      type: "button", class: "solo", title: `Only ${label}`, "aria-label": `Show only ${label}, or all as before`,
      on: { click: () => this.#only(name) },
    }, icon("eye"));
    const row = h("li", { title: description },
      h("label", {}, box, key, h("span", { class: "what" }, label, " ", hint), n), solo,
      h("span", { id: `about-${name}`, hidden: true }, description));
    this.#rows.set(name, { row, box, n, key, hint });
    return row;
  }

  #set(name: string, on: boolean): void {
    if (on) this.on.add(name);
    else this.on.delete(name);
  }

  #changed(): void {
    this.#solo = null;
    this.#sync();
    this.tell();
  }

  /** Only this one; again, and everything is as before. */
  #only(name: string): void {
    const before = this.#solo;
    const alone = this.on.size === 1 && this.on.has(name);
    if (alone && before) {
      this.on.clear();
      for (const other of before) this.on.add(other);
      this.#solo = null;
    } else {
      this.#solo = before ?? new Set(this.on);
      this.on.clear();
      this.on.add(name);
    }
    this.#sync();
    this.tell();
  }

  #sync(): void {
    for (const [name, { box, row }] of this.#rows) {
      box.checked = this.on.has(name);
      row.classList.toggle("off", !box.checked);
    }
    for (const { box, names } of this.#packs) {
      const on = names.filter((name) => this.on.has(name)).length;
      box.checked = on === names.length;
      box.indeterminate = on > 0 && on < names.length;
    }
  }
}
