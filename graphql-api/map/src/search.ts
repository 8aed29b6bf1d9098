// The search box: a combobox over the twin's own search.

import { search, type Named } from "./api";
import { fill, h } from "./dom";
import { marked } from "./text";

/** How long after the last key it asks. */
const PATIENCE = 120;
const SHOWN = 12;

export class Search {
  #list: HTMLElement;
  #found: Named[] = [];
  #at = -1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;

  constructor(
    readonly input: HTMLInputElement, list: HTMLElement,
    readonly label: (name: string) => string, readonly choose: (twin: Named) => void,
  ) {
    this.#list = list;
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("focus", () => {
      if (this.#found.length) this.#open(true);
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("blur", () => this.#open(false));
    // Pressed, the box would lose the focus, and with it the list before the click. A finger still scrolls.
    list.addEventListener("mousedown", (event) => event.preventDefault());
  }

  #open(open: boolean): void {
    this.#list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    if (!open) this.#stand(-1);
  }

  #typed(): void {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const text = this.input.value.trim();
    if (!text) {
      this.#found = [];
      this.#open(false);
      return;
    }
    this.#timer = setTimeout(() => void this.#ask(text), PATIENCE);
  }

  async #ask(text: string): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const found = await search(text, SHOWN, asking.signal);
      if (asking.signal.aborted) return;
      this.#found = found.map(({ twin }) => twin);
      this.#show(text);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#found = [];
      fill(this.#list, h("li", { class: "none" }, error instanceof Error ? error.message : String(error)));
      this.#open(true);
    }
  }

  #show(text: string): void {
    const option = (twin: Named, i: number) => {
      const label = twin.label ?? twin.id;
      const parts = marked(label, text).map(([part, hit]) => (hit ? h("mark", {}, part) : part));
      return h("li", {
        id: `found-${i}`, role: "option", "aria-selected": "false",
        on: { click: () => this.#pick(i) },
      }, h("span", { class: "what" }, ...parts), h("span", { class: "class" }, this.label(twin.class)),
      h("small", { class: "id" }, twin.label ? twin.id : ""));
    };
    if (this.#found.length) fill(this.#list, ...this.#found.map(option));
    else fill(this.#list, h("li", { class: "none" }, `Nothing is called “${text}”.`));
    this.#open(true);
    this.#stand(this.#found.length ? 0 : -1);
  }

  #stand(at: number): void {
    this.#at = at;
    for (const [i, item] of [...this.#list.children].entries()) {
      item.setAttribute("aria-selected", String(i === at));
      if (i === at) item.scrollIntoView({ block: "nearest" });
    }
    if (at >= 0) this.input.setAttribute("aria-activedescendant", `found-${at}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  #key(event: KeyboardEvent): void {
    const last = this.#found.length - 1;
    switch (event.key) {
      case "ArrowDown":
        this.#open(last >= 0);
        this.#stand(this.#at >= last ? 0 : this.#at + 1);
        break;
      case "ArrowUp":
        this.#stand(this.#at <= 0 ? last : this.#at - 1);
        break;
      case "Enter":
        if (this.#list.hidden || this.#at < 0) return;
        this.#pick(this.#at);
        break;
      case "Escape":
        if (this.#list.hidden && !this.input.value) return;
        if (this.#list.hidden) this.input.value = "";
        this.#open(false);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #pick(at: number): void {
    const twin = this.#found[at];
    if (!twin) return;
    this.input.value = twin.label ?? twin.id;
    this.#open(false);
    this.choose(twin);
  }
}
