// Resolves Vega's CommonJS modules inside the page; a module runs when something first requires it.
"use strict";
const streamlineVega = (() => {
  const waiting = new Map(), loaded = new Map();
  const require = (name) => {
    if (!loaded.has(name)) {
      const module = { exports: {} };
      loaded.set(name, module.exports);
      waiting.get(name)(module.exports, module, require);
    }
    return loaded.get(name);
  };
  return { add: (name, body) => waiting.set(name, body), require };
})();
