// SPDX-License-Identifier: Apache-2.0
// What llama.cpp says of texts by a file's classifier:  node classes.mjs GGUF TEXTS OUT   (see worker.mjs)
import fs from "node:fs";
import {getLlama, getModuleVersion} from "node-llama-cpp";

const [gguf, textsFile, out] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: "error"});
const model = await llama.loadModel({modelPath: gguf});
// As the file says: pooling, and what stands around a text.
const {bos, eos, shouldPrependBosToken, shouldAppendEosToken} = model.tokens;
const before = shouldPrependBosToken ? [bos] : [], behind = shouldAppendEosToken ? [eos] : [];
const sequences = JSON.parse(fs.readFileSync(textsFile)).map((text) => [...before, ...model.tokenize(text), ...behind]);
// createEmbeddingContext() would do, but for its flash attention and its cache in half precision.
const context = await model.createContext({
  contextSize: Math.max(...sequences.map((ids) => ids.length)) + 1, sequences: 1, threads: 1, flashAttention: false,
  experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32", _embeddings: true,
});
const sequence = context.getSequence();
const logprobs = [];
for (const ids of sequences) {
  await sequence.clearHistory();
  for await (const _ of sequence.evaluate(ids, {_noSampling: true})) break;
  logprobs.push(...Array.from(context._ctx.getEmbedding(ids.length), Math.log));
}
const version = `${llama.llamaCppRelease.release} (node-llama-cpp ${await getModuleVersion()})`;
fs.writeFileSync(out, JSON.stringify({version, logprobs}));
await llama.dispose();
