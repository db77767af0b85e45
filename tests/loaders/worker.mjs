// SPDX-License-Identifier: Apache-2.0
// llama.cpp, through node-llama-cpp:  node worker.mjs GGUF IDS OUT   (see worker.py)
import fs from "node:fs";
import {getLlama, getModuleVersion} from "node-llama-cpp";

const [gguf, idsFile, out] = process.argv.slice(2);
const ids = JSON.parse(fs.readFileSync(idsFile));
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: "error"});
const model = await llama.loadModel({modelPath: gguf});
// Flash attention and a cache in half precision would blur the comparison.
const context = await model.createContext({
  contextSize: ids.length + 1, sequences: 1, flashAttention: false,
  experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
});
const whole = {temperature: 1, topK: 0, topP: 1, minP: 0};
const steps = ids.slice(0, -1).map((id) => [id, {generateNext: {probabilities: true, options: whole}}]);
const found = await context.getSequence().controlledEvaluate(steps);
const logprobs = found.map(({next}, i) => Math.log(next.probabilities.get(ids[i + 1])));
const version = `${llama.llamaCppRelease.release} (node-llama-cpp ${await getModuleVersion()})`;
fs.writeFileSync(out, JSON.stringify({version, logprobs}));
await llama.dispose();
