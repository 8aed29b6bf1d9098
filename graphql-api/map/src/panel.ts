// The panel of one twin: what it is, what it measures, where it is, what it is related to, and where
// that is known from.

import { details, detailsQuery, history, moreRelated, type Details, type Named, type Reading, type Related } from "./api";
import { chart, windowFor } from "./chart";
import { shortNumber } from "./classify";
import { fill, get, h, icon } from "./dom";
import { boxOf, middle, shownPlace, type Box } from "./geo";
import { unitSign, type ClassModel, type Member, type Model } from "./model";

/** Properties that say where a twin is known from; they stand below everything else. */
const ORIGIN = ["source", "licence", "synthetic"];

const HOUR = 3_600_000;
const RANGES: [label: string, words: string, span: number][] = [
  ["24 h", "last 24 hours", 24 * HOUR], ["7 d", "last 7 days", 7 * 24 * HOUR], ["30 d", "last 30 days", 30 * 24 * HOUR],
  ["1 y", "last year", 365 * 24 * HOUR],
];
/** Most points of a chart: more than its pixels show nothing more. */
const MOST_POINTS = 180;

export interface Hooks {
  model(): Model;
  color(of: string): string;
  /** Another twin was chosen in the panel. */
  choose(twin: Named): void;
  /** Where the twin is, as far as it is anywhere, whenever it was looked up. */
  shown(twin: Details, box: Box | null, first: boolean): void;
  fly(box: Box): void;
  closed(): void;
}

/** An instant for people, and how long ago it is where that says more. */
export function ago(ts: number, now: number): string {
  const seconds = Math.round((now - ts) / 1000);
  if (seconds < 0 || seconds >= 86_400 * 2) return new Date(ts).toISOString().replace("T", " ").slice(0, 16) + " UTC";
  if (seconds < 2) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

/** A value for people. */
export function shownValue(value: unknown, member: Member): string {
  const choice = member.choices?.find((option) => option.value === value);
  if (choice) return choice.label;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(6)));
  if (Array.isArray(value)) return value.map((entry) => shownValue(entry, { ...member, kind: "text" })).join(", ");
  if (value && typeof value === "object") {
    const fields = new Map((member.fields ?? []).map((field) => [field.name, field]));
    return Object.entries(value).filter(([, part]) => part !== null)
      .map(([name, part]) => `${fields.get(name)?.label ?? name}: ${shownValue(part, fields.get(name) ?? member)}`).join(", ");
  }
  return String(value);
}

const KINDS: Record<string, string> = {
  Point: "Point", MultiPoint: "Points", LineString: "Line", MultiLineString: "Lines", Polygon: "Area", MultiPolygon: "Area of several parts",
  GeometryCollection: "Several shapes",
};

export class Panel {
  #place = get("panel");
  #twin: Details | null = null;
  #asked = 0;
  #also: Named[] = [];
  #range = new Map<string, number>();
  /** Parts of the panel of the twin that is shown, and what each was made of. */
  #parts = new Map<string, { shows: string; element: HTMLElement | null }>();
  #explained = false;

  constructor(readonly hooks: Hooks) {
    this.#place.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        this.close();
      }
    });
  }

  get id(): string | null {
    return this.#place.hidden ? null : this.#place.dataset["twin"] ?? null;
  }

  /** Opens with a twin; `also` are others at the same place. */
  async open(id: string, also: Named[]): Promise<void> {
    const same = this.id === id;
    this.#also = also.filter((twin) => twin.id !== id);
    this.#place.hidden = false;
    this.#place.dataset["twin"] = id;
    document.body.classList.add("with-panel");
    if (!same) {
      this.#parts.clear();
      this.#twin = null;
      fill(this.#place, this.#head(id, "", null), h("div", { class: "scroll" }, h("p", { class: "soft" }, "Asking the twin…")));
      this.#place.querySelector<HTMLElement>("h2")?.focus({ preventScroll: true });
    }
    await this.#fetch(!same);
  }

  /** Looks again, because something of it changed. */
  async again(): Promise<void> {
    if (this.id) await this.#fetch(false);
  }

  /** Colours as they are by now: another theme has others. */
  recolor(): void {
    for (const key of this.#place.querySelectorAll<HTMLElement>(".key")) {
      key.style.setProperty("--key", this.hooks.color(key.dataset["class"] ?? ""));
    }
  }

  close(): void {
    if (this.#place.hidden) return;
    this.#asked += 1;
    this.#place.hidden = true;
    this.#twin = null;
    document.body.classList.remove("with-panel");
    this.hooks.closed();
  }

  async #fetch(first: boolean): Promise<void> {
    const id = this.id;
    if (!id) return;
    const asked = ++this.#asked;
    try {
      const twin = await details(this.hooks.model(), id);
      if (asked !== this.#asked) return;
      const before = this.#twin;
      this.#twin = twin;
      if (!twin) {
        fill(this.#place, this.#head(id, "", null), h("div", { class: "scroll" }, h("p", {}, `There is no twin ${id}, or not any more.`)));
        return;
      }
      this.#show(twin, before);
      this.hooks.shown(twin, boxOf(twin.geometry), first);
    } catch (error) {
      if (asked !== this.#asked) return;
      const why = error instanceof Error ? error.message : String(error);
      const again = h("button", { type: "button", class: "plain", on: { click: () => void this.#fetch(first) } }, "Try again");
      fill(this.#place, this.#head(id, "", null), h("div", { class: "scroll" }, h("p", { class: "error" }, `This could not be asked: ${why}`), again));
    }
  }

  #head(title: string, of: string, actions: HTMLElement | null): HTMLElement {
    const close = h("button", {
      type: "button", id: "panel-close", class: "icon-button", title: "Close (Esc)", "aria-label": "Close", on: { click: () => this.close() },
    }, icon("close"));
    return h("header", {},
      h("div", { class: "title" },
        of ? h("p", { class: "class" }, this.#key(of), this.#class(of)?.label ?? of) : null,
        h("h2", { id: "panel-title", tabIndex: -1 }, title)),
      close, actions);
  }

  #class(name: string): ClassModel | undefined {
    return this.hooks.model().classes.find((of) => of.name === name);
  }

  #key(of: string): HTMLElement {
    return h("span", { class: "key point", "data-class": of, style: `--key: ${this.hooks.color(of)}` });
  }

  /** A part of the panel. While what it shows is the same it stays, with its focus, its selection and the pages it fetched. */
  #part<E extends HTMLElement | null>(name: string, shows: unknown, make: () => E): E {
    const now = JSON.stringify(shows);
    const kept = this.#parts.get(name);
    if (kept?.shows === now) return kept.element as E;
    const element = make();
    this.#parts.set(name, { shows: now, element });
    return element;
  }

  #show(twin: Details, before: Details | null): void {
    const of = this.#class(twin.class);
    if (!of) return;
    const focused = this.#place.contains(document.activeElement) ? document.activeElement : null;
    const synthetic = twin.values["synthetic"] === true;
    const box = boxOf(twin.geometry);
    const title = twin.label ?? twin.id;
    const query = detailsQuery(this.hooks.model(), of).replace("$id: ID!", `$id: ID! = ${JSON.stringify(twin.id)}`);
    const head = this.#part("head", [title, of.name, box, query], () => this.#head(title, of.name, this.#actions(box, query)));
    const body = this.#part("body", null, () => h("div", { class: "scroll" }));
    fill(body,
      this.#part("synthetic", synthetic, () => (synthetic
        ? h("p", { class: "mark" }, "Synthetic: made up for demonstration, it stands for nothing real.") : null)),
      this.#alsoHere(),
      ...of.telemetry.map((telemetry) => this.#telemetry(twin, telemetry, before)),
      this.#properties(twin, of, before),
      this.#where(twin, box),
      ...this.#relationships(twin, of),
      this.#origin(twin, of));
    fill(this.#place, head, body);
    if (focused && !focused.isConnected) {
      (document.getElementById(focused.id) ?? document.getElementById("panel-title"))?.focus({ preventScroll: true });
    }
  }

  #actions(box: Box | null, query: string): HTMLElement {
    return h("div", { class: "actions" },
      box ? h("button", { type: "button", id: "panel-fly", class: "plain", on: { click: () => this.hooks.fly(box) } }, icon("target"), "Show") : null,
      h("button", { type: "button", id: "panel-link", class: "plain", on: { click: (event) => void copyLink(event.currentTarget as HTMLElement) } }, icon("link"), "Copy link"),
      h("a", { class: "plain", id: "panel-query", href: `/graphql#query=${encodeURIComponent(query)}`, target: "_blank" }, icon("code"), "GraphiQL"));
  }

  #alsoHere(): HTMLElement | null {
    if (!this.#also.length) return null;
    return this.#part("also", this.#also, () => h("nav", { class: "also", "aria-label": "Also at this place" },
      h("span", { class: "soft" }, "Also here"),
      ...this.#also.slice(0, 6).map((twin, i) => h("button", {
        type: "button", class: "chip", id: `also-${i}`, title: twin.label ?? twin.id, on: { click: () => this.hooks.choose(twin) },
      }, h("small", {}, this.#class(twin.class)?.label ?? twin.class), " ", twin.label ?? twin.id))));
  }

  #telemetry(twin: Details, telemetry: Member, before: Details | null): HTMLElement | null {
    const { name } = telemetry;
    const reading = twin.values[name] as Reading | null;
    // Where it is stands below.
    if (!reading || telemetry.kind === "json") return null;
    const numeric = typeof reading.value === "number";
    const now = this.#part(`now ${name}`, [telemetry, reading], () => {
      const old = before?.values[name] as Reading | null | undefined;
      const news = before?.id === twin.id && old?.ts !== reading.ts;
      const ts = Date.parse(reading.ts);
      return h("div", { class: "now" },
        h("h3", {}, telemetry.label),
        h("p", { class: news ? "value news" : "value", "data-telemetry": name },
          h("strong", {}, numeric ? shortNumber(reading.value as number) : shownValue(reading.value, telemetry)), " ", h("small", {}, unitSign(reading.unit))),
        h("p", { class: "soft" }, h("time", { dateTime: reading.ts, "data-ts": ts, title: reading.ts }, ago(ts, Date.now()))));
    });
    const plot = this.#part(`plot ${name}`, null, () => h("div", { class: "plot" }));
    const ranges = this.#part(`ranges ${name}`, null, () => this.#ranges(telemetry, plot));
    const section = this.#part(`section ${name}`, null, () => h("section", { class: "telemetry", title: telemetry.description }));
    fill(section, now, numeric ? ranges : null, numeric ? plot : null);
    // Whoever walks through the chart is not disturbed by a newer one.
    if (numeric && !plot.contains(document.activeElement)) void this.#plot(plot, telemetry);
    return section;
  }

  #ranges(telemetry: Member, plot: HTMLElement): HTMLElement {
    const { name } = telemetry;
    const ranges = h("div", { class: "ranges", role: "group", "aria-label": "Time shown" }, ...RANGES.map(([label, words], i) => h("button", {
      type: "button", id: `range-${name}-${i}`, title: words, "aria-pressed": String((this.#range.get(name) ?? 1) === i),
      on: { click: () => {
        this.#range.set(name, i);
        for (const [j, button] of [...ranges.children].entries()) button.setAttribute("aria-pressed", String(i === j));
        void this.#plot(plot, telemetry);
      } },
    }, label)));
    return ranges;
  }

  /** Draws what was read up to the newest reading; an old chart stands until the new one is there. */
  async #plot(place: HTMLElement, telemetry: Member): Promise<void> {
    const { name, label } = telemetry;
    const twin = this.#twin;
    const newest = twin?.values[name] as Reading | null | undefined;
    if (!twin || !newest) return;
    const range = this.#range.get(name) ?? 1;
    const [, , span] = RANGES[range] ?? ["", "", 7 * 24 * HOUR];
    const [every, length] = windowFor(span, MOST_POINTS);
    // To the end of the window that holds the newest reading.
    const to = (Math.floor(Date.parse(newest.ts) / length) + 1) * length;
    let drawn: HTMLElement;
    try {
      const points = await history(twin.id, twin.class, name, new Date(to - span), new Date(to), every);
      drawn = chart(points, [to - span, to], length, label, unitSign(newest.unit));
    } catch (error) {
      drawn = h("p", { class: "error" }, `No history: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (range !== (this.#range.get(name) ?? 1)) return; // Another time was chosen meanwhile.
    const walking = place.contains(document.activeElement);
    fill(place, drawn);
    if (walking) place.querySelector("svg")?.focus({ preventScroll: true });
  }

  #properties(twin: Details, of: ClassModel, before: Details | null): HTMLElement | null {
    const has = (member: Member) => {
      const value = twin.values[member.name];
      return value !== null && value !== undefined && !(Array.isArray(value) && value.length === 0);
    };
    const shown = of.properties.filter((member) => has(member) && !ORIGIN.includes(member.name) && twin.values[member.name] !== twin.label);
    if (!shown.length) return null;
    return this.#part("properties", shown.map((member) => [member, twin.values[member.name]]), () => this.#list(twin, shown, before));
  }

  #list(twin: Details, shown: Member[], before: Details | null): HTMLElement {
    const list = h("dl", { class: this.#explained ? "explained" : "" }, ...shown.map((member) => {
      const value = shownValue(twin.values[member.name], member);
      const news = before?.id === twin.id && shownValue(before.values[member.name], member) !== value;
      return h("div", { title: member.description },
        h("dt", {}, member.label), h("dd", { class: news ? "news" : "", "data-property": member.name }, value, member.unit ? h("small", {}, ` ${unitSign(member.unit)}`) : null),
        h("p", { class: "about" }, member.description));
    }));
    const explain = h("button", { type: "button", id: "panel-explain", class: "quiet", "aria-pressed": String(this.#explained), on: { click: () => {
      this.#explained = list.classList.toggle("explained");
      explain.setAttribute("aria-pressed", String(this.#explained));
    } } }, "Explain");
    return h("section", {}, h("div", { class: "row" }, h("h3", {}, "Properties"), explain), list);
  }

  #where(twin: Details, box: Box | null): HTMLElement {
    const kind = twin.geometry ? KINDS[twin.geometry.type] ?? twin.geometry.type : null;
    return this.#part("where", [kind, box], () => h("section", {}, h("h3", {}, "Place"), h("dl", {},
      h("div", {}, h("dt", {}, "Shape"), h("dd", {}, kind ?? "nowhere")),
      box ? h("div", {}, h("dt", {}, twin.geometry?.type === "Point" ? "At" : "Around"), h("dd", {}, shownPlace(middle(box)))) : null,
      h("div", {}, h("dt", {}, "Id"), h("dd", { class: "id" }, twin.id)))));
  }

  #relationships(twin: Details, of: ClassModel): HTMLElement[] {
    const words = new Map(this.hooks.model().classes.flatMap((c) => c.relationships.map((r) => [r.name, r] as const)));
    for (const own of of.relationships) words.set(own.name, own);
    const sections = (["OUT", "IN"] as const).map((direction) => {
      const list = twin.related.filter((related) => related.direction === direction);
      if (!list.length) return null;
      const groups = list.map((related) => {
        const model = words.get(related.relationship);
        const [label, description] = [model?.label ?? related.relationship, model?.description ?? ""];
        return this.#part(`${direction} ${related.relationship}`, [related, label, description],
          () => this.#group(twin.id, related, label, description));
      });
      const title = this.#part(`title ${direction}`, null, () => h("h3", {}, direction === "OUT" ? "Related to" : "Related from"));
      const section = this.#part(`related ${direction}`, null, () => h("section", {}));
      fill(section, title, ...groups);
      return section;
    });
    return sections.filter((section) => section !== null);
  }

  #group(id: string, related: Related, label: string, description: string): HTMLElement {
    const key = `${related.direction}-${related.relationship}`;
    const list = h("ul", { class: "related" });
    const items = (twins: Named[]) => twins.map((twin) => h("li", {}, h("button", {
      type: "button", id: `related-${key}-${twin.id}`, on: { click: () => this.hooks.choose(twin) },
    }, this.#key(twin.class),
      h("span", { class: "what" }, twin.label ?? twin.id), h("span", { class: "class" }, this.#class(twin.class)?.label ?? twin.class))));
    list.append(...items(related.twins));
    let cursor = related.cursor;
    const more = h("button", { type: "button", class: "quiet", id: `more-${key}`, on: { click: async () => {
      more.disabled = true;
      try {
        const page = await moreRelated(id, { ...related, cursor });
        list.append(...items(page.twins));
        cursor = page.cursor;
      } finally {
        more.disabled = false;
        more.hidden = cursor === null;
      }
    } } }, "Show more");
    more.hidden = cursor === null;
    return h("div", { class: "group", title: description },
      h("h4", {}, icon(related.direction === "OUT" ? "out" : "in"), label, " ", h("span", { class: "n" }, related.totalCount.toLocaleString("en"))), list, more);
  }

  #origin(twin: Details, of: ClassModel): HTMLElement {
    const text = (name: string) => (typeof twin.values[name] === "string" ? (twin.values[name] as string) : null);
    const [source, licence] = [text("source"), text("licence")];
    const known = of.properties.some((member) => member.name === "source");
    return this.#part("origin", [source, licence, known, twin.revision], () => h("footer", { class: "origin" },
      source ? h("p", {}, h("b", {}, "Source "), source) : known ? h("p", {}, "No source is stated.") : null,
      licence ? h("p", {}, h("b", {}, "Licence "), licence) : null,
      h("p", { class: "soft" }, `Revision ${twin.revision}`)));
  }
}

async function copyLink(button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    button.lastChild?.replaceWith("Copied");
    setTimeout(() => button.lastChild?.replaceWith("Copy link"), 1_500);
  } catch {
    // Without the right to write there, the address bar still has it.
    button.lastChild?.replaceWith("It is in the address bar");
  }
}
