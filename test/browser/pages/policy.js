function code() {
  try {
    return new Function("return 'allowed'")();
  } catch {
    return "refused";
  }
}

globalThis.results = Promise.resolve({ isolated: crossOriginIsolated, generatedCode: code() });
