// Boxes in longitude and latitude, and the tiles they touch.

/** West, south, east, north. */
export type Box = [number, number, number, number];

export interface TileId {
  z: number;
  x: number;
  y: number;
}

/** Latitude at which the square of the Web Mercator projection ends. */
const MERCATOR_END = 85.0511287798066;
/** Tiles of this many pixels carry what is drawn a little beyond their edge. */
const BUFFER_OF_A_TILE = 64 / 512;

type Nested = number[] | Nested[];

/** The box around a GeoJSON geometry; `null` if it has no point. */
export function boxOf(geometry: { type: string; coordinates?: unknown; geometries?: unknown } | null | undefined): Box | null {
  if (!geometry) return null;
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  const walk = (part: Nested): void => {
    if (typeof part[0] === "number") {
      const [x, y] = part as number[];
      if (x === undefined || y === undefined) return;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    } else {
      for (const inner of part as Nested[]) walk(inner);
    }
  };
  if (geometry.type === "GeometryCollection") {
    for (const part of (geometry.geometries ?? []) as { type: string }[]) {
      const inner = boxOf(part);
      if (inner) walk([[inner[0], inner[1]], [inner[2], inner[3]]]);
    }
  } else if (Array.isArray(geometry.coordinates)) {
    walk(geometry.coordinates as Nested);
  }
  return box[0] <= box[2] ? box : null;
}

/** The box around two boxes. */
export function join(a: Box | null, b: Box | null): Box | null {
  if (!a || !b) return a ?? b;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

/** The middle of a box. */
export function middle(box: Box): [number, number] {
  return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
}

/** Where a place lies in the square of the projection, 0 to 1 from its north-west corner. */
export function mercator(lon: number, lat: number): [number, number] {
  const held = Math.min(MERCATOR_END, Math.max(-MERCATOR_END, lat)) * (Math.PI / 180);
  return [lon / 360 + 0.5, 0.5 - Math.log(Math.tan(Math.PI / 4 + held / 2)) / (2 * Math.PI)];
}

/** Tiles of a zoom in which something in this box may be drawn; `null` if there are more than `most`. */
export function cover(box: Box, z: number, most: number): TileId[] | null {
  const size = 2 ** z;
  const [west, north] = mercator(box[0], box[3]);
  const [east, south] = mercator(box[2], box[1]);
  const held = (value: number) => Math.min(size - 1, Math.max(0, Math.floor(value)));
  const [x0, x1] = [held(west * size - BUFFER_OF_A_TILE), held(east * size + BUFFER_OF_A_TILE)];
  const [y0, y1] = [held(north * size - BUFFER_OF_A_TILE), held(south * size + BUFFER_OF_A_TILE)];
  if ((x1 - x0 + 1) * (y1 - y0 + 1) > most) return null;
  const tiles: TileId[] = [];
  for (let x = x0; x <= x1; x++) for (let y = y0; y <= y1; y++) tiles.push({ z, x, y });
  return tiles;
}

/** What two boxes share. */
export function overlap(a: Box, b: Box): Box | null {
  const box: Box = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return box[0] <= box[2] && box[1] <= box[3] ? box : null;
}

/** The zoom at which something this wide, in degrees, is so many pixels wide. */
export function zoomFor(degrees: number, pixels: number): number {
  return Math.log2((pixels * 360) / (512 * degrees));
}

/** Twice the signed area of a ring, and that area times its centre: sums over rings give both. */
export function moments(ring: number[][]): [area: number, x: number, y: number] {
  let [area, x, y] = [0, 0, 0];
  const [ox, oy] = ring[0] ?? [0, 0];
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [ax, ay] = [(ring[j]?.[0] ?? 0) - (ox ?? 0), (ring[j]?.[1] ?? 0) - (oy ?? 0)];
    const [bx, by] = [(ring[i]?.[0] ?? 0) - (ox ?? 0), (ring[i]?.[1] ?? 0) - (oy ?? 0)];
    const cross = ax * by - bx * ay;
    area += cross;
    x += (ax + bx) * cross;
    y += (ay + by) * cross;
  }
  return [area, area * (ox ?? 0) + x / 3, area * (oy ?? 0) + y / 3];
}

/** A place for people: four decimals are ten metres. */
export function shownPlace([lon, lat]: [number, number]): string {
  const part = (value: number, positive: string, negative: string) =>
    `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;
  return `${part(lat, "N", "S")}, ${part(lon, "E", "W")}`;
}
