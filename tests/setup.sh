#!/usr/bin/env bash
# Installs what the tests need beside Python packages, where it is missing. Whatever cannot be had ends it with one line.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache

fail() {
    echo "tests/setup.sh: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian packages, by a command or file that each brings.
missing=()
need() {
    command -v "$1" > /dev/null || [ -e "$1" ] || missing+=("$2")
}
need nginx nginx-light
need node nodejs
need npm npm
need dpkg-deb dpkg
need convert-im6.q16 imagemagick
need curl curl
need openssl openssl
need systemd-analyze systemd
need chromium chromium
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get > /dev/null || fail "install these and try again: ${missing[*]}"
    as_root apt-get update -qq || fail "apt-get update failed"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" > .cache/apt.log 2>&1 ||
        fail "apt-get install ${missing[*]} failed, see .cache/apt.log"
fi

# npm packages, in .cache/node.
if [ ! -d .cache/node/node_modules/@atproto/api ]; then
    npm install --prefix .cache/node --no-audit --no-fund @atproto/api@0.19 > .cache/npm.log 2>&1 ||
        fail "npm install @atproto/api failed, see .cache/npm.log"
fi

# Pictures and films to try.
tests/media.sh
