#!/usr/bin/env bash
# Format, include layers and clang-tidy. With --all clang-tidy reads everything, at 5 s a file and 10 s or more where torch
# is included; without, what reads files of others. --fix formats instead of checking.
set -euo pipefail
cd "$(dirname "$0")/.."

tidy_pattern='/src/streamline/(base|io|arch|text)/[^ ]*[.]cpp$'
format=(--dry-run -Werror)
for argument in "$@"; do
  case "$argument" in
    --all) tidy_pattern='/src/(streamline|cli)/[^ ]*[.]cpp$' ;;
    --fix) format=(-i) ;;
    *)
      echo "usage: scripts/lint.sh [--all] [--fix]" >&2
      exit 2
      ;;
  esac
done

# One version for everybody: formatters of different years disagree.
.venv/bin/clang-format --version
find src tests bench examples -name '*.cpp' -o -name '*.h' | xargs .venv/bin/clang-format "${format[@]}"
echo "lint: format is right"

python3 tests/lint/include_layers.py src

cmake --preset tidy >/dev/null
# The report's generated source is data; what we wrote is under src.
grep -o '"file": "[^"]*"' build/tidy/compile_commands.json | cut -d'"' -f4 | grep -E "$tidy_pattern" | sort -u |
  xargs -P "$(nproc)" -n 4 clang-tidy -p build/tidy --quiet 2> >(grep -v 'warnings\? generated' >&2)
echo "lint: clang-tidy has nothing to say"
