// Questions to the twin over GraphQL.

import type { ClassModel, Member, Model } from "./model";

interface GraphQlError {
  message: string;
  extensions?: { code?: string };
}

/** A question that was refused or failed, with the service's own words. */
export class Refused extends Error {
  constructor(message: string, readonly code: string) {
    super(message);
  }
}

/** Asks once; `null` answers come as they are, errors are thrown. */
export async function ask<T>(query: string, variables: Record<string, unknown> = {}, signal?: AbortSignal): Promise<T> {
  const answer = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
    ...(signal ? { signal } : {}),
  });
  const body = (await answer.json()) as { data?: T; errors?: GraphQlError[] };
  const first = body.errors?.[0];
  if (first) throw new Refused(first.message, first.extensions?.code ?? "INTERNAL");
  if (!body.data) throw new Refused(`no answer (${answer.status})`, "INTERNAL");
  return body.data;
}

export interface Named {
  id: string;
  class: string;
  label: string | null;
}

export type Geometry = { type: string; coordinates?: unknown; geometries?: unknown };

const NAMED = "id class label";

export async function search(text: string, first: number, signal: AbortSignal): Promise<{ twin: Named; matched: string }[]> {
  const query = `query Search($text: String!, $first: Int) { search(text: $text, first: $first) { matched twin { ${NAMED} } } }`;
  return (await ask<{ search: { twin: Named; matched: string }[] }>(query, { text, first }, signal)).search;
}

export interface Related {
  relationship: string;
  direction: "OUT" | "IN";
  totalCount: number;
  twins: Named[];
  cursor: string | null;
}

export interface Reading {
  value: unknown;
  unit: string | null;
  ts: string;
  arrived: string;
}

export interface Details extends Named {
  revision: string;
  geometry: Geometry | null;
  /** Properties and newest readings by name. */
  values: Record<string, unknown>;
  related: Related[];
}

interface Connection {
  totalCount: number;
  edges: { node: Named }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

const PAGE = 8;
const CONNECTION = `{ totalCount edges { node { ${NAMED} } } pageInfo { hasNextPage endCursor } }`;

/** How a member is asked for; objects with all they are made of. */
function selection(member: Member): string {
  if (member.kind !== "object") return member.name;
  return `${member.name} { ${(member.fields ?? []).map(selection).join(" ")} }`;
}

/** The question behind the panel, also shown to people who want to ask it themselves. */
export function detailsQuery(model: Model, of: ClassModel): string {
  const incoming = new Set(model.classes.flatMap((c) => c.relationships.map((r) => r.name)));
  const ways = [
    ...of.relationships.map((r) => ["OUT", r.name] as const),
    ...[...incoming].toSorted().map((name) => ["IN", name] as const),
  ];
  const related = ways.map(([way, name]) =>
    `    ${way.toLowerCase()}_${name}: related(direction: ${way}, relationship: "${name}", first: ${PAGE}) ${CONNECTION}`);
  const members = [
    ...of.properties.map((p) => `      ${selection(p)}`),
    ...of.telemetry.map((t) => `      ${t.name} { value unit ts arrived }`),
  ];
  const own = members.length ? `    ... on ${of.name} {\n${members.join("\n")}\n    }\n` : "";
  return `query Twin($id: ID!) {\n  twin(id: $id) {\n    ${NAMED} revision geometry\n${own}${related.join("\n")}\n  }\n}`;
}

/** Everything the panel shows of a twin; `null` if there is none of this id. */
export async function details(model: Model, id: string): Promise<Details | null> {
  const first = await ask<{ twin: Named | null }>(`query Class($id: ID!) { twin(id: $id) { ${NAMED} } }`, { id });
  const of = model.classes.find((c) => c.name === first.twin?.class);
  if (!first.twin || !of) return null;
  const { twin } = await ask<{ twin: (Record<string, unknown> & Named & { revision: string; geometry: Geometry | null }) | null }>(
    detailsQuery(model, of), { id });
  if (!twin) return null;
  const related: Related[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(twin)) {
    const way = /^(out|in)_(\w+)$/.exec(key);
    if (way?.[1] && way[2]) {
      const { totalCount, edges, pageInfo } = value as Connection;
      if (totalCount > 0) {
        related.push({
          relationship: way[2], direction: way[1] === "out" ? "OUT" : "IN", totalCount,
          twins: edges.map((edge) => edge.node), cursor: pageInfo.hasNextPage ? pageInfo.endCursor : null,
        });
      }
    } else {
      values[key] = value;
    }
  }
  const { class: name, label, revision, geometry } = twin;
  return { id, class: name, label, revision, geometry, values, related };
}

/** More of the twins that a twin is related to. */
export async function moreRelated(id: string, { relationship, direction, cursor }: Related): Promise<{ twins: Named[]; cursor: string | null }> {
  const query = `query More($id: ID!, $name: String!, $after: String) { twin(id: $id) {
    related(direction: ${direction}, relationship: $name, first: 50, after: $after) ${CONNECTION} } }`;
  const { twin } = await ask<{ twin: { related: Connection } | null }>(query, { id, name: relationship, after: cursor });
  const page = twin?.related;
  return {
    twins: page?.edges.map((edge) => edge.node) ?? [],
    cursor: page?.pageInfo.hasNextPage ? page.pageInfo.endCursor : null,
  };
}

export interface Past {
  ts: number;
  mean: number;
  min: number;
  max: number;
}

/** Readings of a time summed up by windows. */
export async function history(id: string, of: string, telemetry: string, from: Date, to: Date, every: string): Promise<Past[]> {
  const part = (name: string) =>
    `${name.toLowerCase()}: history(from: $from, to: $to, every: $every, aggregate: ${name}) { ts value }`;
  const query = `query History($id: ID!, $from: DateTime!, $to: DateTime!, $every: Duration!) {
    twin(id: $id) { ... on ${of} { ${telemetry} { ${part("MEAN")} ${part("MIN")} ${part("MAX")} } } } }`;
  type Points = { ts: string; value: number }[];
  const { twin } = await ask<{ twin: Record<string, { mean: Points; min: Points; max: Points } | null> | null }>(
    query, { id, from: from.toISOString(), to: to.toISOString(), every });
  const found = twin?.[telemetry];
  return (found?.mean ?? []).map(({ ts, value }, i) => ({
    ts: Date.parse(ts), mean: value, min: found?.min[i]?.value ?? value, max: found?.max[i]?.value ?? value,
  }));
}

/** Where twins are; those that are gone are left out. */
export async function geometries(ids: string[]): Promise<Map<string, Geometry | null>> {
  const parts = ids.map((id, i) => `t${i}: twin(id: ${JSON.stringify(id)}) { geometry }`);
  const found = await ask<Record<string, { geometry: Geometry | null } | null>>(`{ ${parts.join(" ")} }`);
  return new Map(ids.map((id, i) => [id, found[`t${i}`]?.geometry ?? null]));
}

/** Most twins whose values are fetched one by one. */
const MOST_VALUES = 20_000;

export interface Values {
  values: [string | number | boolean, number][];
  /** Twins that have no value. */
  absent: number;
  /** Whether there are more twins than were looked at. */
  partial: boolean;
}

/** How often each value of a property or telemetry comes among the twins of a class. */
export async function values(of: ClassModel, by: string): Promise<Values> {
  const property = of.properties.find((p) => p.name === by);
  const counts = new Map<string | number | boolean, number>();
  let absent = 0;
  const add = (value: unknown, count: number) => {
    const usable = typeof value === "string" || typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value));
    if (usable) counts.set(value, (counts.get(value) ?? 0) + count);
    else absent += count;
  };
  if (property && property.kind !== "number") {
    const query = `query Values($class: String!, $by: String!) {
      aggregate(class: $class, by: [{class: true}, {property: $by}], measures: [{count: true}]) { group { value } values } }`;
    try {
      const { aggregate } = await ask<{ aggregate: { group: { value: unknown }[]; values: number[] }[] }>(query, { class: of.name, by });
      for (const { group, values } of aggregate) {
        if (group[0]?.value !== of.name) continue; // Of a subclass, which is another layer.
        // Wide integers come as texts.
        const value = property.kind === "integer" && typeof group[1]?.value === "string" ? Number(group[1].value) : group[1]?.value;
        add(value, values[0] ?? 0);
      }
      return { values: [...counts], absent, partial: false };
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "TOO_COSTLY") throw error;
    }
  }
  const wanted = property ? by : `${by} { value }`;
  const query = `query Values($after: String) { list: ${of.plural}(first: 1000, after: $after) {
    edges { node { class ... on ${of.name} { wanted: ${wanted} } } } pageInfo { hasNextPage endCursor } } }`;
  type Page = { list: { edges: { node: { class: string; wanted?: unknown } }[]; pageInfo: { hasNextPage: boolean; endCursor: string } } };
  let after: string | null = null;
  for (let seen = 0; seen < MOST_VALUES; seen += 1000) {
    const page: Page = await ask<Page>(query, { after });
    for (const { node } of page.list.edges) {
      if (node.class !== of.name) continue;
      const { wanted } = node;
      add(property ? wanted : (wanted as { value: unknown } | null)?.value, 1);
    }
    if (!page.list.pageInfo.hasNextPage) return { values: [...counts], absent, partial: false };
    after = page.list.pageInfo.endCursor;
  }
  return { values: [...counts], absent, partial: true };
}
