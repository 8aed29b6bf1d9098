// Names of boundaries: a point for each area that is loaded, where its name reads best.

import { moments } from "./geo";

/** A piece of an area as a tile has it. */
export interface Piece {
  id: string;
  label: string;
  geometry: { type: string; coordinates?: unknown };
}

export interface Name {
  id: string;
  label: string;
  at: [number, number];
  /** In square degrees. */
  area: number;
}

/** The centre of each area, of all its pieces together: tiles cut areas, names must not show it. */
export function namesOf(pieces: Piece[]): Name[] {
  const sums = new Map<string, { label: string; area: number; x: number; y: number }>();
  const add = (piece: Piece, ring: number[][] | undefined) => {
    if (!ring) return;
    const [area, x, y] = moments(ring);
    const sign = Math.sign(area);
    const sum = sums.get(piece.id) ?? { label: piece.label, area: 0, x: 0, y: 0 };
    sum.area += area * sign;
    sum.x += x * sign;
    sum.y += y * sign;
    sums.set(piece.id, sum);
  };
  for (const piece of pieces) {
    const { type, coordinates } = piece.geometry;
    if (type === "Polygon") add(piece, (coordinates as number[][][])[0]);
    if (type === "MultiPolygon") for (const polygon of coordinates as number[][][][]) add(piece, polygon[0]);
  }
  return [...sums].filter(([, sum]) => sum.area > 0)
    .map(([id, { label, area, x, y }]) => ({ id, label, at: [x / area, y / area] as [number, number], area: area / 2 }))
    .toSorted((a, b) => b.area - a.area || (a.id < b.id ? -1 : 1));
}
