// A person at the map: chromium, driven by playwright-core.
//
//   node map.mjs URL FOLDER
//
// Writes a line of JSON for each thing that was seen, {"seen": "…", "ms": 12}, and ends with 1 and the
// reason at the first that was not. {"do": "kill"} and {"do": "start"} ask the test to end the twin and
// to start it again at the same address. Pictures go to FOLDER.
import { join } from "node:path";
import { PATIENCE, launch, still } from "./browser.mjs";

const [url, folder] = process.argv.slice(2);
const STATION = "rw:station:kigali-us-embassy";

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const problems = [];

async function see(what, look) {
  const start = performance.now();
  try {
    await look();
  } catch (error) {
    throw new Error(`${what}: ${error.message}`);
  }
  say({ seen: what, ms: Math.round(performance.now() - start) });
}

const truth = (yes, why) => {
  if (!yes) throw new Error(why);
};

async function ask(query, variables = {}) {
  const answer = await fetch(`${url}/graphql`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ query, variables }),
  });
  const body = await answer.json();
  truth(!body.errors, JSON.stringify(body.errors));
  return body.data;
}

const browser = await launch();

/** A window whose every complaint and every address is noted. */
async function open(options, path) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  let lost = false;
  page.on("console", (message) => {
    // A connection that the test itself breaks may be complained of.
    if (message.type() === "error" && !lost) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(`${url}/`) && !address.startsWith("data:") && !address.startsWith("blob:")) problems.push(`outside: ${address}`);
  });
  await page.goto(`${url}${path}`);
  return { page, mayComplain: () => { lost = true; } };
}

const status = (page) => page.evaluate(() => window.__twinMap.status());

/** How many colours the map's canvas has, of every tenth pixel both ways. */
const colors = (page) => page.evaluate(() => new Promise((resolve) => {
  const { map } = window.__twinMap;
  map.once("render", () => {
    const gl = map.painter.context.gl;
    const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const pixels = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    const seen = new Set();
    for (let y = 0; y < height; y += 10) {
      for (let x = 0; x < width; x += 10) seen.add(pixels.slice((y * width + x) * 4, (y * width + x) * 4 + 3).join());
    }
    resolve(seen.size);
  });
  map.triggerRepaint();
}));

try {
  const { page, mayComplain } = await open({ viewport: { width: 1440, height: 900 }, colorScheme: "light" }, "/map");
  await see("the map is drawn", async () => {
    await still(page);
    truth((await colors(page)) > 3, `the canvas has ${await colors(page)} colours`);
    await page.screenshot({ path: join(folder, "map-light.png") });
  });
  await see("it follows what changes", () => page.waitForFunction(() => window.__twinMap.status().connection === "live"));
  await see("every class that is somewhere has a layer with its count", async () => {
    const rows = await page.locator("#layers li").allInnerTexts();
    truth(rows.some((row) => /District[\s\S]*30/.test(row)), rows.join(" | "));
  });

  await see("a district is found by its name, and flown to", async () => {
    await page.keyboard.press("/");
    await page.keyboard.type("nyagatare");
    const option = page.locator("#found li", { hasText: "District" }).first();
    await option.waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#search").fill("nyagatare");
    await option.waitFor();
    const first = await page.locator("#found li").first().innerText();
    truth(first.includes("District"), `the first found is ${first}`);
    await page.keyboard.press("Enter");
    await page.locator("#panel-title", { hasText: "Nyagatare" }).waitFor();
    await still(page);
    await page.waitForFunction(() => {
      const { lng, lat } = window.__twinMap.map.getCenter();
      return Math.abs(lng - 30.4) < 0.5 && Math.abs(lat + 1.37) < 0.5;
    });
    await page.waitForFunction(() => location.hash.includes("twin="));
    await page.screenshot({ path: join(folder, "map-district.png") });
  });
  await see("Escape closes the panel and gives the map the focus", async () => {
    await page.keyboard.press("Escape");
    await page.locator("#panel").waitFor({ state: "hidden" });
    await page.waitForFunction(() => document.activeElement?.tagName === "CANVAS");
  });

  await see("a link opens a twin, and a click opens it again", async () => {
    await page.evaluate((id) => { location.hash = `#twin=${id}`; }, STATION);
    await page.locator("#panel-title", { hasText: "embassy" }).waitFor();
    await still(page);
    await page.keyboard.press("Escape");
    await page.locator("#panel").waitFor({ state: "hidden" });
    const { twin } = await ask("query($id: ID!) { twin(id: $id) { geometry } }", { id: STATION });
    const at = await page.evaluate((place) => {
      window.__twinMap.map.jumpTo({ center: place, zoom: 15 });
      return window.__twinMap.map.project(place);
    }, twin.geometry.coordinates);
    await page.waitForFunction((point) => window.__twinMap.map.queryRenderedFeatures([point.x, point.y])
      .some((feature) => feature.layer.type === "circle"), at);
    await page.mouse.click(at.x, at.y);
    await page.locator("#panel-title", { hasText: "embassy" }).waitFor();
    await page.screenshot({ path: join(folder, "map-station.png") });
  });

  await see("a reading is in the panel at once, and whoever uses the panel is not disturbed", async () => {
    const value = 41.7;
    await page.evaluate(() => {
      window.__held = document.querySelector("#panel [id^=related-], #panel a, #panel button.range");
      window.__held.focus();
    });
    await ask("mutation($r: [ReadingInput!]!) { record(readings: $r) { position } }", {
      r: [{ twin: STATION, telemetry: "pm25", value }],
    });
    await page.waitForFunction((text) => document.querySelector("[data-telemetry=pm25] strong")?.textContent === text, String(value));
    truth(await page.evaluate(() => document.activeElement === window.__held), "the focus was lost");
  });
  await see("its history is a line", () => page.locator(".chart svg .line, .chart svg .dot").first().waitFor({ state: "attached" }));
  await see("a mutation is on the map at once", async () => {
    const before = (await status(page)).refreshed;
    await ask("mutation($input: AirQualityStationInput!) { upsertAirQualityStation(input: $input) { position } }", {
      input: { id: STATION, name: "Renamed station" },
    });
    await page.waitForFunction(() => window.__twinMap.map.querySourceFeatures("twin-AirQualityStation", { sourceLayer: "AirQualityStation" })
      .some((feature) => feature.properties.label === "Renamed station"));
    await page.waitForFunction((count) => window.__twinMap.status().refreshed > count, before);
    await page.locator("#panel-title", { hasText: "Renamed station" }).waitFor();
  });

  await see("a class is coloured by a value, with a legend that counts", async () => {
    await page.locator("#tab-color").click();
    await page.locator("#color-of").selectOption("District");
    await page.locator("#color-by").selectOption("population");
    await page.locator(".legend li").nth(4).waitFor();
    const counts = await page.locator(".legend .n").allInnerTexts();
    truth(counts.reduce((sum, text) => sum + Number(text), 0) === 30, `the counts are ${counts}`);
    await page.locator("#color-count").fill("3");
    await page.waitForFunction(() => document.querySelectorAll(".legend li").length === 3);
    await page.evaluate(() => window.__twinMap.map.jumpTo({ center: [30.05, -1.95], zoom: 8.6 }));
    await still(page);
    await page.screenshot({ path: join(folder, "map-colour.png") });
  });
  await see("the other theme is a click away", async () => {
    await page.locator("#theme").click();
    await page.waitForFunction(() => window.__twinMap.status().theme === "dark");
    await still(page);
    await colors(page); // It was drawn once more.
    await page.screenshot({ path: join(folder, "map-dark.png") });
  });

  await see("a lost connection is said", async () => {
    mayComplain();
    say({ do: "kill" });
    await page.locator("#lost").waitFor();
  });
  await see("it goes on by itself once the twin is back", async () => {
    say({ do: "start" });
    await page.waitForFunction(() => window.__twinMap.status().connection === "live");
    await page.locator("#lost").waitFor({ state: "hidden" });
  });
  await see("and hears what happens then", async () => {
    await ask("mutation($r: [ReadingInput!]!) { record(readings: $r) { position } }", { r: [{ twin: STATION, telemetry: "pm25", value: 12.5 }] });
    await page.waitForFunction(() => document.querySelector("[data-telemetry=pm25] strong")?.textContent === "12.5");
  });
  await page.context().close();

  await see("the keyboard alone is enough", async () => {
    const { page } = await open({ viewport: { width: 1024, height: 700 } }, "/map#map=15/-1.9355/30.0808");
    await still(page);
    await page.keyboard.press("Tab");
    truth((await page.evaluate(() => document.activeElement?.className)) === "skip", "the first stop is no skip link");
    await page.evaluate(() => window.__twinMap.map.getCanvas().focus());
    await page.waitForFunction(() => window.__twinMap.map.queryRenderedFeatures().some((feature) => feature.layer.type === "circle"));
    await page.keyboard.press("Enter");
    await page.locator("#panel-title").waitFor();
    await page.waitForFunction(() => document.activeElement?.id === "panel-title");
    await page.context().close();
  });
  await see("a tile that failed is asked for again", async () => {
    const { page, mayComplain } = await open({ viewport: { width: 900, height: 700 } }, "/");
    mayComplain();
    let busy = true;
    await page.route("**/tiles/AirQualityStation/**", (route) => busy ? route.fulfill({ status: 503 }) : route.continue());
    await page.goto(`${url}/map`);
    await page.locator("#notice").waitFor();
    await page.waitForFunction(() => window.__twinMap.map.areTilesLoaded());
    busy = false;
    await page.waitForFunction(() => window.__twinMap.map.queryRenderedFeatures().some((feature) => feature.source === "twin-AirQualityStation"));
    await page.context().close();
  });
  await see("a finger scrolls what was found, and a tap picks one", async () => {
    const { page } = await open({ viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true }, "/map");
    await still(page);
    await page.locator("#search").fill("ka");
    await page.locator("#found li").nth(8).waitFor();
    const box = await page.locator("#found").boundingBox();
    const session = await page.context().newCDPSession(page);
    const touch = (type, y) => session.send("Input.dispatchTouchEvent", { type, touchPoints: y === null ? [] : [{ x: box.x + 60, y }] });
    const from = box.y + box.height - 20;
    await touch("touchStart", from);
    for (let step = 1; step <= 15; step += 1) await touch("touchMove", from - 12 * step);
    await touch("touchEnd", null);
    await page.waitForFunction(() => document.querySelector("#found").scrollTop > 50);
    truth(await page.locator("#panel").isHidden(), "a finger that scrolls picked something");
    await page.locator("#found li").nth(8).tap();
    await page.locator("#panel-title").waitFor();
    await page.context().close();
  });
  for (const width of [360, 390]) {
    await see(`a phone of ${width} pixels has room for everything`, async () => {
      const { page } = await open({ viewport: { width, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }, `/map#twin=${STATION}`);
      await still(page);
      // The demo may have read its files again, which name it as they do.
      await page.locator("#panel-title", { hasText: /Renamed|embassy/ }).waitFor();
      const panel = await page.locator("#panel").boundingBox();
      truth(panel.x === 0 && panel.width === width && panel.y > 300, `the panel is at ${JSON.stringify(panel)}`);
      truth(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is wider than the screen");
      await page.screenshot({ path: join(folder, `map-phone-${width}.png`) });
      await page.locator("#panel-close").click();
      await page.locator("#tab-layers").click();
      await page.locator("#layers li").first().waitFor();
      await page.context().close();
    });
  }
  await see("nothing was complained of, and nobody else asked", async () => truth(problems.length === 0, problems.join("\n")));
} catch (error) {
  process.stderr.write(`${error.message}\n${problems.join("\n")}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
