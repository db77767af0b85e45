// SPDX-License-Identifier: Apache-2.0
// llama.cpp, through node-llama-cpp:  node worker.mjs GGUF IDS OUT   (see worker.py; IDS may also be a list of sequences)
import fs from "node:fs";
import {getLlama, getModuleVersion} from "node-llama-cpp";

const CHUNK = 16; // probabilities of the whole vocabulary are held for so many tokens
const [gguf, idsFile, out] = process.argv.slice(2);
const given = JSON.parse(fs.readFileSync(idsFile));
const sequences = Array.isArray(given[0]) ? given : [given];
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: "error"});
const model = await llama.loadModel({modelPath: gguf});
// Flash attention and a cache in half precision would blur the comparison.
const context = await model.createContext({
  contextSize: Math.max(...sequences.map((ids) => ids.length)) + 1, sequences: 1, threads: 1, flashAttention: false,
  experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
});
const whole = {temperature: 1, topK: 0, topP: 1, minP: 0};
const logprobs = [];
const sequence = context.getSequence();
for (const ids of sequences) {
  await sequence.clearHistory();
  for (let first = 0; first < ids.length - 1; first += CHUNK) {
    const steps = ids.slice(first, Math.min(first + CHUNK, ids.length - 1));
    const found = await sequence.controlledEvaluate(
      steps.map((id) => [id, {generateNext: {probabilities: true, options: whole}}]));
    found.forEach(({next}, i) => logprobs.push(Math.log(next.probabilities.get(ids[first + i + 1]))));
  }
}
const version = `${llama.llamaCppRelease.release} (node-llama-cpp ${await getModuleVersion()})`;
fs.writeFileSync(out, JSON.stringify({version, logprobs}));
await llama.dispose();
