#!/usr/bin/env bash
# lint.sh:       clang-tidy on the C++ files that differ from the last commit.
# lint.sh --all: on every file that build/release compiles.
# lint.sh FILE...
# JOBS (2 by default) bounds the processes.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

case "${1:-}" in
  --all) mapfile -t files < <(tools/dev/sources.sh | grep '\.cc$') ;;
  '') mapfile -t files < <(tools/dev/sources.sh --changed | grep '\.cc$' || true) ;;
  *) files=("$@") ;;
esac

cmake --preset release >/dev/null
# Fuzzers and the consumer of the package have no entry in the release build's commands.
compiled=()
for file in "${files[@]}"; do
  if grep -qF "\"file\": \"$PWD/$file\"" build/release/compile_commands.json; then
    compiled+=("$file")
  fi
done
echo "clang-tidy on ${#compiled[@]} files"
[ ${#compiled[@]} -gt 0 ] || exit 0
# Generated headers must exist to be read.
cmake --build --preset release --parallel "${JOBS:-2}" >/dev/null
printf '%s\0' "${compiled[@]}" |
  xargs -0 --max-args=1 --max-procs="${JOBS:-2}" \
    clang-tidy --quiet -p build/release --extra-arg=-Wno-unknown-warning-option
