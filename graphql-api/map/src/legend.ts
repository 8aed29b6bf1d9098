// Colouring by a value: the form that chooses it, its classes, and the legend with how many there are.

import type { ExpressionSpecification } from "maplibre-gl";
import { values, type Values } from "./api";
import {
  categories, MAX_CLASSES, MIN_CLASSES, numberClasses, OTHER, RAMPS, shortNumber, type Ramp,
} from "./classify";
import { fill, h } from "./dom";
import { unitSign, type ClassModel, type Member } from "./model";
import type { Coloring } from "./style";

/** Colour of what has no value. */
const ABSENT = "rgba(138, 145, 153, 0.35)";
/** Numbers that take few values are better told apart than ranged. */
const FEW_VALUES = 6;

export interface Choice {
  of: string;
  by: string;
  count: number;
  method: "quantile" | "equal";
  ramp: Ramp;
}

interface Row {
  color: string;
  label: string;
  count: number;
}

/** What a value can be coloured by: numbers, choices, texts and truths; live ones too. */
export function colorable(of: ClassModel): { member: Member; live: boolean }[] {
  const usable = (member: Member) => !member.personal && ["number", "integer", "choice", "text", "truth"].includes(member.kind);
  return [
    ...of.telemetry.filter(usable).map((member) => ({ member, live: true })),
    ...of.properties.filter(usable).map((member) => ({ member, live: false })),
  ];
}

interface Classed {
  color: ExpressionSpecification;
  cells: ExpressionSpecification | null;
  rows: Row[];
  /** Whether numbers were put in ranges. */
  ranged: boolean;
}

/** Classes of values as an expression of the map and as rows of a legend. */
export function classed(member: Member, found: Values, choice: Choice): Classed {
  const get = ["get", choice.by] as ExpressionSpecification;
  const numbers = found.values.filter((entry): entry is [number, number] => typeof entry[0] === "number");
  const numeric = (member.kind === "number" || member.kind === "integer") && numbers.length > 0;
  if (numeric && numbers.length > FEW_VALUES) {
    const classes = numberClasses(numbers, choice.count, choice.method, choice.ramp);
    const steps = classes.slice(1).flatMap(({ lower, color }) => [lower, color]);
    const first = classes[0]?.color ?? OTHER;
    const stepped = (get: ExpressionSpecification) =>
      ["case", ["==", ["typeof", get], "number"], steps.length ? ["step", get, first, ...steps] : first, ABSENT] as ExpressionSpecification;
    const whole = member.kind === "integer";
    return {
      color: stepped(get),
      cells: stepped(["get", "mean"]),
      rows: classes.map(({ lower, upper, count, color }, i) => {
        // Whole numbers below the next class end one before it.
        const end = whole && i + 1 < classes.length ? Math.ceil(upper) - 1 : upper;
        const from = whole ? Math.ceil(lower) : lower;
        return { color, count, label: from >= end ? shortNumber(from) : `${shortNumber(from)} – ${shortNumber(end)}` };
      }),
      ranged: true,
    };
  }
  const order = member.choices?.map((option) => option.value);
  const sorted = numeric ? numbers.map(([value]) => value).toSorted((a, b) => a - b) : order;
  const classes = categories(found.values, sorted);
  const name = (value: string | number | boolean) =>
    member.choices?.find((option) => option.value === value)?.label
      ?? (typeof value === "boolean" ? (value ? "yes" : "no") : String(value));
  const own = classes.filter((entry) => entry.value !== null);
  const match = own.length
    ? ["match", ["to-string", get], ...own.flatMap(({ value, color }) => [String(value), color]), OTHER]
    : OTHER;
  return {
    color: ["case", ["has", choice.by], match, ABSENT] as ExpressionSpecification,
    cells: null,
    rows: classes.map(({ value, count, color }) => ({ color, count, label: value === null ? "others" : name(value) })),
    ranged: false,
  };
}

/** The form and the legend. Tells how to colour, or that nothing is coloured, whenever that changes. */
export class Legend {
  #choice: Choice | null = null;
  #found: Values | null = null;
  #classes: ClassModel[] = [];
  #offered = "";
  #asked = 0;
  #of = h("select", { id: "color-of", on: { change: () => this.#offerValues() } });
  #by = h("select", { id: "color-by", on: { change: () => void this.#changed() } });
  #options = h("div", { class: "options" });
  #rows = h("div", { class: "legend", "aria-live": "polite" });

  constructor(place: HTMLElement, classes: ClassModel[], readonly tell: (coloring: Coloring | null) => void) {
    fill(place,
      h("label", { for: "color-of" }, "Colour"), this.#of,
      h("label", { for: "color-by" }, "by"), this.#by,
      this.#options, this.#rows);
    this.offer(classes);
    this.#offerValues();
  }

  /** Offers the classes that there are by now; what is chosen stays chosen. */
  offer(classes: ClassModel[]): void {
    const chosen = this.#of.value;
    const usable = classes.filter((of) => (of.geometry !== null || of.name === chosen) && colorable(of).length > 0);
    this.#classes = classes;
    const offered = JSON.stringify(usable.map((of) => [of.name, of.label, colorable(of)]));
    if (offered === this.#offered) return; // Whoever is choosing from the list goes on.
    this.#offered = offered;
    fill(this.#of, h("option", { value: "" }, "Nothing"), ...usable.map((of) => h("option", { value: of.name }, of.label)));
    this.#of.value = usable.some((of) => of.name === chosen) ? chosen : "";
    if (!chosen) return;
    this.#offerValues(this.#by.value);
    if (!this.#member()) void this.#changed();
  }

  /** What is coloured, for a link. */
  get link(): { of: string; by: string } | null {
    return this.#choice ? { of: this.#choice.of, by: this.#choice.by } : null;
  }

  /** Colours a class by a value; whatever there is none of is left as it is. */
  async choose(of: string, by: string): Promise<void> {
    const found = this.#classes.find((entry) => entry.name === of);
    if (!found || !colorable(found).some(({ member }) => member.name === by)) return;
    this.#of.value = of;
    this.#offerValues(by);
    await this.#changed();
  }

  /** Counts again after something changed. */
  async again(): Promise<void> {
    if (this.#choice) await this.#fetch(false);
  }

  #class(): ClassModel | undefined {
    return this.#classes.find((of) => of.name === this.#of.value);
  }

  #member(): Member | undefined {
    const of = this.#class();
    return of && colorable(of).find(({ member }) => member.name === this.#by.value)?.member;
  }

  #offerValues(by?: string): void {
    const of = this.#class();
    const options = of ? colorable(of) : [];
    const option = ({ member }: { member: Member }) => h("option", { value: member.name, title: member.description }, member.label);
    const group = (label: string, live: boolean) => {
      const list = options.filter((entry) => entry.live === live);
      if (!list.length) return null;
      const element = h("optgroup", { label });
      element.append(...list.map(option));
      return element;
    };
    fill(this.#by, group("Live", true), group("Properties", false));
    this.#by.disabled = !of;
    // Numbers make the better map; a name is rarely what anyone wants to see.
    const numeric = options.find(({ member, live }) => live || member.kind === "number" || member.kind === "integer")
      ?? options.find(({ member }) => member.kind === "choice");
    this.#by.value = by ?? numeric?.member.name ?? options[0]?.member.name ?? "";
    if (by === undefined) void this.#changed();
  }

  async #changed(): Promise<void> {
    const [of, member] = [this.#class(), this.#member()];
    if (!of || !member) {
      this.#choice = null;
      this.#asked += 1;
      fill(this.#options);
      fill(this.#rows, h("p", { class: "soft" }, "Choose a class and one of its values: numbers are put in classes, everything else is told apart."));
      this.tell(null);
      return;
    }
    this.#choice = { count: 5, method: "quantile", ramp: "viridis", ...this.#choice, of: of.name, by: member.name };
    fill(this.#rows, h("p", { class: "soft" }, "Counting…"));
    await this.#fetch(true);
  }

  async #fetch(first: boolean): Promise<void> {
    const [of, choice] = [this.#class(), this.#choice];
    if (!of || !choice) return;
    const asked = ++this.#asked;
    try {
      const found = await values(of, choice.by);
      if (asked !== this.#asked) return; // Something else was chosen meanwhile.
      this.#found = found;
      this.#show();
    } catch (error) {
      if (asked !== this.#asked || !first) return;
      fill(this.#rows, h("p", { class: "error" }, `This cannot be counted: ${error instanceof Error ? error.message : String(error)}`));
      this.tell(null);
    }
  }

  #show(): void {
    const [member, choice, found] = [this.#member(), this.#choice, this.#found];
    if (!member || !choice || !found) return;
    const { color, cells, rows, ranged } = classed(member, found, choice);
    const options = ranged ? this.#numberOptions(choice) : [];
    // Whoever turns a knob keeps it under the hand.
    if (this.#options.childElementCount !== options.length) fill(this.#options, ...options);
    const unit = unitSign(member.unit);
    const most = Math.max(1, ...rows.map((row) => row.count));
    const row = ({ color, label, count }: Row) => h("li", {},
      h("span", { class: "swatch", style: `background: ${color}` }),
      h("span", { class: "what" }, label),
      h("span", { class: "bar", "aria-hidden": "true" }, h("i", { style: `width: ${((count / most) * 100).toFixed(1)}%` })),
      h("span", { class: "n" }, count.toLocaleString("en")));
    fill(this.#rows,
      h("h3", {}, member.label, unit ? h("small", {}, ` ${unit}`) : null),
      h("ul", {}, ...rows.map(row),
        found.absent > 0 ? row({ color: ABSENT, label: "no value", count: found.absent }) : null),
      found.partial ? h("p", { class: "soft" }, "Counted among the first 20,000.") : null);
    this.tell({ of: choice.of, by: choice.by, color, cells });
  }

  #numberOptions(choice: Choice): HTMLElement[] {
    const change = (part: Partial<Choice>) => {
      if (!this.#choice) return;
      Object.assign(this.#choice, part);
      this.#show();
    };
    const count = h("input", {
      id: "color-count", type: "number", min: String(MIN_CLASSES), max: String(MAX_CLASSES), value: String(choice.count),
      on: { input: () => {
        const wanted = Number(count.value);
        if (wanted >= MIN_CLASSES && wanted <= MAX_CLASSES) change({ count: Math.round(wanted) });
      } },
    });
    const method = h("select", { id: "color-method", on: { change: () => change({ method: method.value as Choice["method"] }) } },
      h("option", { value: "quantile" }, "equal counts"), h("option", { value: "equal" }, "equal steps"));
    method.value = choice.method;
    const ramp = h("select", { id: "color-ramp", on: { change: () => change({ ramp: ramp.value as Ramp }) } },
      ...Object.keys(RAMPS).map((name) => h("option", { value: name }, name)));
    ramp.value = choice.ramp;
    const field = (label: string, input: HTMLElement) => h("label", { class: "field" }, h("span", {}, label), input);
    return [field("Classes", count), field("With", method), field("Ramp", ramp)];
  }
}
