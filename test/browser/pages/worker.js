import { run } from "../suite/suite.js";

self.postMessage(await run());
