// What a link keeps: the view, the selected twin, the hidden layers and what is coloured.
//
//   #map=9.2/-1.9441/30.0619&twin=rw:district:11&color=Village.population

export interface Place {
  zoom: number;
  lat: number;
  lon: number;
  bearing: number;
  pitch: number;
}

export interface Link {
  place: Place | null;
  twin: string | null;
  color: { of: string; by: string } | null;
  /** Layers that are switched off. */
  off: string[];
}

const number = (text: string | undefined, least: number, most: number): number | null => {
  if (text === undefined || text.trim() === "") return null;
  const value = Number(text);
  return Number.isFinite(value) && value >= least && value <= most ? value : null;
};

const list = (text: string | null) => (text ?? "").split(",").filter((name) => /^\w+$/.test(name));

function parsePlace(text: string | null): Place | null {
  const parts = (text ?? "").split("/");
  const zoom = number(parts[0], 0, 24);
  const lat = number(parts[1], -90, 90);
  const lon = number(parts[2], -180, 180);
  if (zoom === null || lat === null || lon === null) return null;
  return { zoom, lat, lon, bearing: number(parts[3], -360, 360) ?? 0, pitch: number(parts[4], 0, 85) ?? 0 };
}

/** What a fragment says; whatever of it makes no sense counts as not said. */
export function parse(hash: string): Link {
  const said = new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"));
  const twin = said.get("twin");
  const color = /^(\w+)\.(\w+)$/.exec(said.get("color") ?? "");
  return {
    place: parsePlace(said.get("map")),
    twin: twin && /^[A-Za-z0-9][A-Za-z0-9._~:-]{0,127}$/.test(twin) ? twin : null,
    color: color?.[1] && color[2] ? { of: color[1], by: color[2] } : null,
    off: list(said.get("off")),
  };
}

/** The fragment that says this. */
export function format(link: Link): string {
  const parts: string[] = [];
  if (link.place) {
    const { zoom, lat, lon, bearing, pitch } = link.place;
    // As many decimals as a pixel needs at this zoom.
    const decimals = Math.max(2, Math.ceil((zoom * Math.LN2 + Math.log(512 / 360)) / Math.LN10));
    const place = [zoom.toFixed(2).replace(/\.?0+$/, ""), lat.toFixed(decimals), lon.toFixed(decimals)];
    if (bearing || pitch) place.push(bearing.toFixed(1).replace(/\.0$/, ""));
    if (pitch) place.push(pitch.toFixed(0));
    parts.push(`map=${place.join("/")}`);
  }
  if (link.twin) parts.push(`twin=${link.twin}`);
  if (link.color) parts.push(`color=${link.color.of}.${link.color.by}`);
  if (link.off.length) parts.push(`off=${link.off.join(",")}`);
  return parts.length ? `#${parts.join("&")}` : "";
}
