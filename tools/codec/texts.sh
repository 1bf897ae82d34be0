#!/bin/sh
# Fetches the Debian packages whose texts the codec is measured on and unpacks them; installs nothing.
# texts.sh FOLDER
set -eu
folder=${1:?"usage: texts.sh FOLDER"}
mkdir -p "$folder/packages"
(cd "$folder/packages" && apt-get download anarchism debian-faq debian-history fortunes jargon-text \
  libabsl-dev libjs-underscore libpython3.11-stdlib perl-modules-5.36 r-cran-janeaustenr \
  wesnoth-1.16-did wesnoth-1.16-httt)
for package in "$folder"/packages/*.deb; do
  name=$(basename "$package")
  dpkg-deb -x "$package" "$folder/${name%%_*}"
done
