#!/usr/bin/env bash
# Installs what building needs, and only what is missing: Debian's packages, and PyTorch where the active Python has
# none that is new enough. With --tests also the tools and the reference libraries that the tests compare with.
# Safe to run again; needs root only when a Debian package is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(cmake g++ ninja-build pkg-config python3 python3-venv ca-certificates
  nlohmann-json3-dev libcli11-dev libyaml-cpp-dev libspdlog-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev
  libcsv-dev zlib1g-dev libzstd-dev libssl-dev libjs-vega libgtest-dev libgmock-dev libbenchmark-dev)
with_tests=false
case "${1:-}" in
  "") ;;
  --tests)
    with_tests=true
    packages+=(clang clang-tidy python3-dev)
    ;;
  *)
    echo "usage: scripts/setup.sh [--tests]" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*"; }
die() {
  echo "setup: $*" >&2
  exit 1
}

installed() { [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

as_root() {
  if [[ $EUID == 0 ]]; then
    "$@"
  else
    command -v sudo >/dev/null || die "Debian packages are missing and this is neither root nor has it sudo; as root: apt-get install ${missing[*]}"
    say "asking sudo for the right to install packages"
    sudo "$@"
  fi
}

# Installs those of the named packages that are missing.
debian_packages() {
  missing=()
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null || die "this is not Debian; install by your system's means: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null </dev/null
}

command -v dpkg-query >/dev/null || die "this is not Debian; install by your system's means: ${packages[*]}"
debian_packages "${packages[@]}"
if $with_tests; then
  # libFuzzer and the sanitizers of Clang come apart from it, under its version.
  debian_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
fi
say "Debian packages: all there"

new_enough_torch='
import sys, torch
version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
sys.exit(version < (2, 11))'
has_torch() { "$1" -c "$new_enough_torch" 2>/dev/null; }

make_environment() {
  [[ -x .venv/bin/python ]] || python3 -m venv .venv
}

if has_torch python3; then
  say "PyTorch: $(python3 -c 'import torch; print(torch.__version__)' 2>/dev/null) of the active Python, $(command -v python3)"
else
  make_environment
  if ! has_torch .venv/bin/python; then
    say "PyTorch: installing torch==2.13.0 into .venv"
    .venv/bin/python -m pip install -q --disable-pip-version-check torch==2.13.0
  fi
  say "PyTorch: $(.venv/bin/python -c 'import torch; print(torch.__version__)' 2>/dev/null) in .venv"
fi
$with_tests || exit 0

# The reference libraries go into .venv whoever has PyTorch; that of the active Python is made visible there.
make_environment
if ! has_torch .venv/bin/python; then
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' >"$site/active-python-torch.pth"
fi
pinned_versions_are_there='
import sys
from importlib.metadata import PackageNotFoundError, version
for line in open("tests/oracle/requirements.txt"):
    name, _, wanted = line.split("#")[0].strip().partition("==")
    try:
        if name and version(name) != wanted:
            sys.exit(1)
    except PackageNotFoundError:
        sys.exit(1)'
if ! .venv/bin/python -c "$pinned_versions_are_there"; then
  say "reference libraries: installing tests/oracle/requirements.txt into .venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check -r tests/oracle/requirements.txt
fi
say "reference libraries: all there"
