#!/usr/bin/env bash
# sources.sh:           every C++ source of the tree.
# sources.sh --changed: those that differ from the last commit.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

patterns=('*.h' '*.cc' '*.cu' '*.cuh')
if [ "${1:-}" = --changed ]; then
  { git diff --name-only --diff-filter=d HEAD -- "${patterns[@]}"
    git ls-files --others --exclude-standard -- "${patterns[@]}"; } | sort -u
else
  # A file deleted but not committed is listed too; there is nothing in it to look at.
  git ls-files --cached --others --exclude-standard --deduplicate -- "${patterns[@]}" |
    while read -r path; do [ ! -f "$path" ] || echo "$path"; done
fi
