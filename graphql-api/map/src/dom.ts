// Elements in one line each. Texts only ever become text nodes, so nothing of the data is markup.

type Props<K extends keyof HTMLElementTagNameMap> = {
  class?: string;
  on?: { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };
  [attribute: `aria-${string}` | `data-${string}`]: string | number | boolean | undefined;
} & Partial<Omit<HTMLElementTagNameMap[K], "style" | "children" | "dataset">> & { style?: string; role?: string; for?: string };

export type Child = Node | string | number | null | undefined | false;

/** An element with its attributes and what is in it. */
export function h<K extends keyof HTMLElementTagNameMap>(
  name: K, props: Props<K> = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  const { class: className, on, ...rest } = props;
  if (className) element.className = className;
  for (const [event, listener] of Object.entries(on ?? {})) {
    element.addEventListener(event, listener as EventListener);
  }
  for (const [key, value] of Object.entries(rest)) {
    if (value === undefined) continue;
    if (key in element && !key.includes("-") && key !== "style" && key !== "role") {
      (element as unknown as Record<string, unknown>)[key] = value;
    } else {
      element.setAttribute(key === "htmlFor" ? "for" : key, String(value));
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces what is in an element. What is there and stays is not touched: it keeps focus, selection and scrolling. */
export function fill(element: Element, ...children: Child[]): void {
  const wanted = new Set(children.filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  for (const old of [...element.childNodes]) if (!wanted.has(old)) old.remove();
  let next: Node | null = element.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else element.insertBefore(child, next);
  }
}

/** An element of the page that the page always has. */
export function get<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
export function svg(name: string, attributes: Record<string, string | number>, ...children: (Node | string)[]): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Line icons of 24 by 24, drawn by us. */
const ICONS: Record<string, string> = {
  search: "M11 4a7 7 0 1 1 0 14a7 7 0 0 1 0-14M16.2 16.2 21 21",
  close: "M6 6l12 12M18 6 6 18",
  layers: "M12 3 3 8l9 5 9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
  palette: "M4 20V10M10 20V4M16 20v-7M22 20H2",
  sun: "M12 8a4 4 0 1 1 0 8a4 4 0 0 1 0-8M12 2v2M12 20v2M2 12h2M20 12h2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4.2 4.2 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4.2 4.2 0 0 0 6 6l1-1",
  target: "M12 5a7 7 0 1 1 0 14a7 7 0 0 1 0-14M12 2v4M12 18v4M2 12h4M18 12h4",
  chevron: "M9 5l7 7-7 7",
  code: "M8 6l-6 6 6 6M16 6l6 6-6 6",
  eye: "M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12zM12 9.3a2.7 2.7 0 1 1 0 5.4a2.7 2.7 0 0 1 0-5.4",
  out: "M5 12h14M13 6l6 6-6 6",
  in: "M19 12H5M11 6l-6 6 6 6",
};

export function icon(name: string): SVGElement {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
    svg("path", { d: ICONS[name] ?? "" }));
}
