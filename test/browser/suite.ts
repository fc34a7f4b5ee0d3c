// What runs in the browser: the tests of the typed maps that need nothing of Node. Built by browser.test.ts.

import "../typed/verbs.test.js";
import "../typed/iteration.test.js";
import "../typed/ref.test.js";
import "../typed/per-cpu.test.js";
import "../typed/open.test.js";

export { run } from "./support/vitest.js";
