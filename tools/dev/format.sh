#!/usr/bin/env bash
# format.sh:         formats every C++ source in place.
# format.sh --check: names what is not formatted, and fails.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

mode=(-i)
if [ "${1:-}" = --check ]; then
  mode=(--dry-run --Werror)
fi
if ! tools/dev/sources.sh | xargs --no-run-if-empty clang-format "${mode[@]}"; then
  echo "format.sh: run 'make format' ($(clang-format --version))" >&2
  exit 1
fi
