#!/usr/bin/env bash
# Installs what is missing (the reference libraries too), builds, and runs every check: lint; all tests, those against
# the reference libraries included; the torch-free half again under ASan and UBSan (SANITIZED=all: everything, half an hour
# more), and its parsers under libFuzzer; and a program outside the tree against the installed package. Goes on after a
# failure; the last lines say what failed.
set -uo pipefail
cd "$(dirname "$0")/.."

export CTEST_OUTPUT_ON_FAILURE=1 CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-$(nproc)}"
summary=() passed=0 failed=0
step() {
  local name=$1 start=$SECONDS verdict=passed
  shift
  echo
  echo "=== $name"
  if "$@"; then passed=$((passed + 1)); else
    verdict=FAILED
    failed=$((failed + 1))
  fi
  summary+=("$(printf '%-8s %5d s  %s' "$verdict" $((SECONDS - start)) "$name")")
  [[ $verdict == passed ]]
}

build() { cmake --preset "$1" >/dev/null && cmake --build "build/$1"; }
run_ctest() { ctest --preset "$1" --progress | tail -n 80; return "${PIPESTATUS[0]}"; }

# One parser under libFuzzer. Seeds are copied: a fuzzer writes what it finds into its corpus. What it prints comes in one
# piece.
fuzz_one() {
  local target status=0
  target=$(basename "$1" _fuzz)
  mkdir -p "build/fuzz/corpus/$target"
  cp -n "tests/fuzz/seeds/$target"/* "build/fuzz/corpus/$target/"
  "$1" -max_total_time="${FUZZ_SECONDS:-8}" -timeout=5 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$target-" "build/fuzz/corpus/$target" >"build/fuzz/$target.log" 2>&1 || status=1
  echo "fuzzed $target for ${FUZZ_SECONDS:-8} s"
  cat "build/fuzz/$target.log"
  return $status
}
export -f fuzz_one
fuzz() { printf '%s\n' build/fuzz/tests/fuzz/*_fuzz | xargs -P "$(nproc)" -n 1 bash -c 'fuzz_one "$0"'; }

# The example of docs/library.md, built by a project that knows only where streamline is installed.
installed_package() {
  local prefix=$PWD/build/installed
  rm -rf "$prefix" build/example quickstart-out/example
  cmake --install build/release --prefix "$prefix" >/dev/null &&
    "$prefix/bin/streamline" list >/dev/null &&
    "$prefix/bin/streamline" score models/books-5m --seq-len 64 --samples 2 --json | grep '"shipped/calibration.jsonl"' >/dev/null &&
    cmake -S examples/prune_library -B build/example -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >/dev/null &&
    cmake --build build/example &&
    build/example/prune_library models/books-5m models/text/calibration.jsonl quickstart-out/example
}

step "set-up" scripts/setup.sh --tests || exit 1
step "lint" scripts/lint.sh
step "build, Release" build release && step "tests, Release" run_ctest release
if step "build, ASan and UBSan" build fuzz; then
  step "tests, ASan and UBSan" run_ctest fuzz
  step "fuzzers" fuzz
fi
if [[ ${SANITIZED:-} == all ]]; then
  step "build, ASan and UBSan (all)" build dev && step "tests, ASan and UBSan (all)" run_ctest dev
fi
step "installed package and its example" installed_package

echo
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
