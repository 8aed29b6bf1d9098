// Pictures of the map for README.md: a demo with the source data, visited by chromium.
//
//   node pictures.mjs TWIN FOLDER
//
// TWIN_DATA names the data and TWIN_MAP the built map. Writes map-nation.webp, map-kigali.webp and
// map-phone.webp to FOLDER and ends the demo again.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { PATIENCE, launch, still } from "./browser.mjs";

const [binary, folder] = process.argv.slice(2);
const STATION = "rw:station:kigali-us-embassy";
/** Of WebP: text stays sharp and a picture below 300 kB. */
const QUALITY = 0.82;
const MOST_BYTES = 300_000;

const PICTURES = [
  {
    name: "map-nation", width: 1440, height: 900, click: "#tab-color", until: ".legend li",
    path: "/map#off=Sector,Cell,Village,HealthCentre,HealthPost,AdministrativeOffice,School,EarlyChildhoodCentre,WaterPoint,WaterSupplyScheme&color=District.population",
  },
  { name: "map-kigali", width: 1440, height: 900, path: `/map#map=12.4/-1.9455/30.0900&twin=${STATION}`, until: ".chart svg .line" },
  { name: "map-phone", width: 390, height: 844, path: `/map#map=12.2/-1.9650/30.0808&twin=${STATION}`, phone: true, until: ".chart svg .line" },
];

/** A picture as WebP, which the browser writes smaller than PNG. */
async function webp(page, png) {
  const url = await page.evaluate(async ([data, quality]) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", quality);
  }, [png.toString("base64"), QUALITY]);
  return Buffer.from(url.slice(url.indexOf(",") + 1), "base64");
}

const temp = await mkdtemp(join(tmpdir(), "twin-pictures-"));
const demo = spawn(binary, ["demo", "--json", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--dir", join(temp, "twin")], {
  stdio: ["ignore", "pipe", "inherit"],
});
const gone = new Promise((resolve) => { demo.once("exit", resolve); });
let browser;
try {
  const ready = await Promise.race([
    new Promise((resolve) => { createInterface({ input: demo.stdout }).once("line", (line) => resolve(JSON.parse(line))); }),
    gone.then((code) => { throw new Error(`the demo ended with ${code} before it was ready`); }),
  ]);
  await promisify(execFile)(binary, ["replay", "--mqtt", ready.mqtt]);
  browser = await launch();
  for (const { name, width, height, path, phone, click, until } of PICTURES) {
    const context = await browser.newContext({
      viewport: { width, height }, colorScheme: "light", reducedMotion: "reduce",
      ...(phone ? { isMobile: true, hasTouch: true, deviceScaleFactor: 2 } : {}),
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(`http://${ready.http}${path}`);
    await page.waitForFunction(() => window.__twinMap?.status().connection === "live");
    if (click) await page.locator(click).click();
    if (until) await page.locator(until).first().waitFor({ state: "attached" });
    await still(page);
    // Names come once the tiles are there.
    await page.waitForFunction(() => new Promise((resolve) => { window.__twinMap.map.once("idle", () => resolve(true)); window.__twinMap.map.triggerRepaint(); }));
    const bytes = await webp(page, await page.screenshot());
    if (bytes.length > MOST_BYTES) throw new Error(`${name} has ${bytes.length} bytes, more than ${MOST_BYTES}`);
    await writeFile(join(folder, `${name}.webp`), bytes);
    process.stdout.write(`${name}.webp: ${bytes.length} bytes\n`);
    await context.close();
  }
} finally {
  await browser?.close();
  demo.kill("SIGINT");
  await gone;
  await rm(temp, { recursive: true });
}
