#!/bin/sh
# Installs the Debian packages of the commands that are missing: system-packages.sh COMMAND=PACKAGE...
# Only where that needs no question, as root on Debian; elsewhere it says what is missing and goes on:
# what cannot work without a command says so itself.
set -eu
missing=
for pair in "$@"; do
  command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
  echo "Installing$missing"
  apt-get update -qq
  # shellcheck disable=SC2086 - a list of names
  apt-get install -qq -y --no-install-recommends $missing >/dev/null
else
  echo "Not installed, and this is not root on Debian:$missing" >&2
fi
