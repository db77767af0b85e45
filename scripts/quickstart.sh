#!/usr/bin/env bash
# From a fresh checkout to a pruned and healed model: installs what is missing, builds the program, and runs the main
# job on the model in models/. Further arguments go to `streamline prune`, e.g. --device cuda or --replace ffn.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
cmake --preset release >/dev/null
echo "quickstart: building (a few minutes the first time)"
cmake --build build/release --target streamline_program

out=quickstart-out/books-5m-pruned
command=(build/release/streamline prune models/books-5m --data models/text/calibration.jsonl --eval models/text/valid.txt
  --out "$out" --overwrite --cut 4 --replace layer --tokens 300000 --seed 0 "$@")
echo "quickstart: ${command[*]}"
"${command[@]}"
echo
echo "quickstart: the pruned model is in $out; look at $out/report.html in a browser, or let it write:"
echo "  build/release/streamline generate $out --prompt 'It was a dark night' --max-tokens 32 --temperature 0"
echo "quickstart: to call it as 'streamline': export PATH=\"\$PWD/build/release:\$PATH\", or cmake --install build/release"
