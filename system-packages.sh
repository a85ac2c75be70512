#!/bin/sh
# Installs what is missing of the system: a linker for compiled networks (cc).
# Only where that needs no question: as root on Debian. Elsewhere it says what is missing.
set -eu
command -v cc >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
  echo "Installing gcc, which links compiled networks."
  apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null
else
  echo "No C compiler (cc) is installed; networks are linked with it: apt-get install gcc" >&2
  exit 1
fi
