// The browser of the tests and of the pictures: chromium, driven by playwright-core.
import { createRequire } from "node:module";

// The packages lie in a cache folder outside the checkout, which plain imports would not find.
const packages = createRequire(process.env.TWIN_NODE_PEERS + "/");
const { chromium } = packages("playwright-core");

/** Whatever is waited for comes within this, on a busy machine without a graphics card too. */
export const PATIENCE = 120_000;

export const launch = () => chromium.launch({
  executablePath: process.env.TWIN_CHROMIUM,
  args: [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

/** Waits until nothing moves on the map and everything in view is loaded. */
export const still = (page) => page.waitForFunction(() => {
  const here = window.__twinMap;
  return here?.status().ready && !here.status().moving && here.map.areTilesLoaded();
});
