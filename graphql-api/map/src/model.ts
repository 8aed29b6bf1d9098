// What the twin says of itself: its classes with their words, how many twins there are and where.

export type Kind = "number" | "integer" | "text" | "truth" | "choice" | "time" | "list" | "object" | "json";

export interface Member {
  name: string;
  label: string;
  description: string;
  unit?: string;
  kind: Kind;
  /** Whether it says something about a person: then no tile carries it. */
  personal?: true;
  /** Values of a choice, in the model's order. */
  choices?: { value: string | number; label: string }[];
  /** What an object is made of. */
  fields?: Member[];
}

export interface RelationshipModel {
  name: string;
  label: string;
  description: string;
}

export interface ClassModel {
  name: string;
  label: string;
  description: string;
  plural: string;
  pack: string;
  /** Twins of exactly this class. */
  count: number;
  /** What most of them are on a map; `null` if none is anywhere. */
  geometry: "area" | "line" | "point" | null;
  /** Area of the boxes around them, of the nation's box: about 1 or more where areas divide it up. */
  cover: number;
  properties: Member[];
  telemetry: Member[];
  relationships: RelationshipModel[];
}

export interface Model {
  position: string;
  bounds: [number, number, number, number] | null;
  attribution: string[];
  classes: ClassModel[];
}

export async function fetchModel(): Promise<Model> {
  const answer = await fetch("/map/model.json");
  if (!answer.ok) throw new Error(`the model cannot be read: ${answer.status} ${await answer.text()}`);
  const model = (await answer.json()) as Model;
  for (const member of model.classes.flatMap((of) => of.properties)) {
    for (const choice of member.choices ?? []) choice.label = words(choice.label);
  }
  return model;
}

/** `notFunctional` as `Not functional`. */
export const words = (name: string): string =>
  capital(name.replaceAll(/([a-z0-9])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`));

const SIGNS: Record<string, string> = {
  microgramPerCubicMetre: "µg/m³", milligramPerCubicMetre: "mg/m³", kilogramPerCubicMetre: "kg/m³",
  degreeCelsius: "°C", degreeFahrenheit: "°F", kelvin: "K", percent: "%", hectopascal: "hPa", pascal: "Pa",
  kilopascal: "kPa", bar: "bar", metre: "m", millimetre: "mm", centimetre: "cm", kilometre: "km", metrePerSecond: "m/s",
  kilometrePerHour: "km/h", squareMetre: "m²", squareKilometre: "km²", hectare: "ha", cubicMetre: "m³", litre: "l",
  cubicMetrePerSecond: "m³/s", cubicMetrePerHour: "m³/h", litrePerSecond: "l/s", litrePerHour: "l/h", watt: "W",
  kilowatt: "kW", megawatt: "MW", kilowattHour: "kWh", megawattHour: "MWh", volt: "V", kilovolt: "kV", ampere: "A",
  hertz: "Hz", second: "s", minute: "min", hour: "h", day: "d", gram: "g", kilogram: "kg", tonne: "t", decibel: "dB",
  degreeOfArc: "°", lux: "lx", partPerMillion: "ppm",
};

/** A unit as people write it; the model's own word where we know no sign. */
export function unitSign(unit: string | null | undefined): string {
  if (!unit) return "";
  return SIGNS[unit] ?? unit.replaceAll(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** `water` as `Water`. */
export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
