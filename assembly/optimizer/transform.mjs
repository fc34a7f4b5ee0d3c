// A transform of the AssemblyScript compiler (asc --transform) that optimises the module in the compiler's place.
//
// The optimiser knows one limit for what it inlines, whoever calls. With one that lets small functions disappear into
// lookups, the module becomes half as large again, since most of the core is creation, checks and errors; with one that
// keeps the module small, an LRU map is half as fast. So there are two rounds: hot functions (hot.mjs) among themselves
// with wide limits, while the cold ones are away; then everything with narrow ones.

import { Transform } from "assemblyscript/transform";
import { HOT, RARE } from "./hot.mjs";

/** Sizes of functions that are inlined, in the optimiser's units. one: those with a single call. */
const WIDE = { always: 6, flexible: 70, one: 80, loops: true };
const NARROW = { always: 2, flexible: 0, one: -1, loops: false };

/** Prefix of the exports that keep hot functions for the second round. */
const KEEP = "hot/";

/** @param {any} binaryen @param {typeof WIDE} limits */
function setLimits(binaryen, { always, flexible, one, loops }) {
  binaryen.setAlwaysInlineMaxSize(always);
  binaryen.setFlexibleInlineMaxSize(flexible);
  binaryen.setOneCallerInlineMaxSize(one);
  binaryen.setAllowInliningFunctionsWithLoops(loops);
}

/** The functions of a module, without its imports. @param {any} binaryen @param {any} module */
function functionsOf(binaryen, module) {
  return Array.from({ length: module.getNumFunctions() }, (_, i) =>
    binaryen.getFunctionInfo(module.getFunctionByIndex(i)),
  ).filter(({ base }) => !base);
}

/**
 * Optimises the hot functions and inlines them into each other. A cold function is an import meanwhile: its calls count
 * for nothing, and what calls it cannot know what it does.
 * @param {any} binaryen @param {any} module
 */
function optimizeHot(binaryen, module) {
  const functions = functionsOf(binaryen, module);
  const isKnown = (/** @type {RegExp} */ pattern) =>
    functions.some(({ name }) => pattern.test(name));
  const stale =
    HOT.find((pattern) => !isKnown(pattern)) ??
    RARE.find((name) => !isKnown(new RegExp(`^${name}$`)));
  if (stale !== undefined)
    throw new Error(`assembly/optimizer/hot.mjs: there is no function ${stale}`);
  const [hot, cold] = [true, false].map((wanted) =>
    functions.filter(({ name }) => HOT.some((pattern) => pattern.test(name)) === wanted),
  );
  for (const { name, params, results } of cold) {
    module.removeFunction(name);
    module.addFunctionImport(name, "cold", name, params, results);
  }
  for (const { name } of hot) module.addFunctionExport(name, KEEP + name);
  for (const name of RARE) {
    binaryen.setPassArgument("no-inline", name);
    module.runPasses(["no-inline"]);
  }
  setLimits(binaryen, WIDE);
  for (const { name } of hot) module.optimizeFunction(name);
  // Passes over the whole module are for the second round: here they would not see what cold functions write.
  module.runPasses(["inlining-optimizing"]);
  for (const { name } of hot) module.removeExport(KEEP + name);
  for (const { name, params, results, vars, body } of cold) {
    module.removeFunction(name);
    module.addFunction(name, params, results, vars, body);
  }
}

export default class Optimize extends Transform {
  /** @param {any} module */
  afterCompile(module) {
    const { binaryen } = this;
    binaryen.setOptimizeLevel(3);
    binaryen.setShrinkLevel(0);
    binaryen.setFastMath(true);
    // Nothing in the core traps, whatever a caller passes.
    binaryen.setTrapsNeverHappen(true);
    optimizeHot(binaryen, module);
    setLimits(binaryen, NARROW);
    // Instances of one generic function often differ in constants only.
    module.runPasses(["merge-similar-functions"]);
    module.optimize();
    module.optimize();
    // Constants of several bytes that a function has more than once go to a local; what is called most gets a short number.
    module.runPasses(["const-hoisting", "reorder-functions"]);
  }
}
