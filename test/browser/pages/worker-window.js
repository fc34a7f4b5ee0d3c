globalThis.results = new Promise((resolve, reject) => {
  const worker = new Worker("/pages/worker.js", { type: "module" });
  worker.addEventListener("message", ({ data }) => resolve(data));
  worker.addEventListener("error", ({ message }) => reject(new Error(message)));
});
