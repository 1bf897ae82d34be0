#!/usr/bin/env bash
# install_packages.sh [LIST]: installs the packages of LIST, packages.txt by default, that are
# missing. Does nothing, quickly, when none is; asks for sudo only when it has something to install
# and is not root.
set -euo pipefail

list="${1:-$(dirname "$(readlink -f "$0")")/packages.txt}"
mapfile -t wanted < <(sed -E 's/[[:space:]]*#.*//; /^$/d' "$list")

if ! command -v dpkg-query >/dev/null; then
  echo "install_packages.sh: not a Debian or Ubuntu system; install what $list names" >&2
  exit 0
fi

installed="$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' |
  sed -n 's/^installed //p')"
missing=()
for package in "${wanted[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
  if ! command -v sudo >/dev/null; then
    echo "install_packages.sh: missing ${missing[*]}; run as root, or install sudo" >&2
    exit 1
  fi
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -q -y --no-install-recommends "${missing[@]}"
