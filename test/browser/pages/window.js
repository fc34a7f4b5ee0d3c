import { run } from "../suite/suite.js";

globalThis.results = run();
