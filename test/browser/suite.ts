// What runs in the browser: the tests of the typed maps that need nothing of Node. Built by browser.test.ts.

import "../unit/map-verbs.test.js";
import "../unit/map-iteration.test.js";
import "../unit/map-ref.test.js";
import "../unit/map-per-cpu.test.js";
import "../unit/map-open.test.js";

export { run } from "./support/vitest.js";
