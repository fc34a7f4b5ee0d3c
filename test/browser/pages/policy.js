function code() {
  try {
    // oxlint-disable-next-line no-new-func -- whether it works is the question
    return new Function("return 'allowed'")();
  } catch {
    return "refused";
  }
}

globalThis.results = Promise.resolve({ isolated: crossOriginIsolated, generatedCode: code() });
