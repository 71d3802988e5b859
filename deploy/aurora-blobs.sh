#!/bin/sh
# /usr/local/sbin/aurora-blobs, mode 0755: root runs the commands by it, as the service's user and with its settings.
set -eu
# What a PDS gets back lies in a folder of the PDS's user: root alone can give it to that one.
if [ "$(id -u)" = 0 ] && [ "${1-} ${2-}" != "blobs give-back" ]; then
    exec runuser -u aurora-blobs -- "$0" "$@"
fi
[ -x . ] || cd /  # /root, where root types this, is not open to the service's user
umask 0027
export AURORA_BLOBS_BIND=unix:/run/aurora-blobs/gunicorn.sock
export AURORA_BLOBS_DATA_DIR=/var/lib/aurora-blobs
export AURORA_BLOBS_SIGNUPS=invite
# Read as systemd does, and not as shell: that would make commands of "&" and blanks in a value.
exec 3< /etc/aurora-blobs.env
while read -r line <&3 || [ -n "$line" ]; do
    name=${line%%=*} value=${line#*=}
    case $name in
    "$line" | *[!A-Za-z0-9_]* | [0-9]* | '') continue ;;
    esac
    case $value in
    \"*\" | \'*\') value=${value#?} value=${value%?} ;;
    esac
    export "$name=$value"
done
exec 3<&-
exec /opt/aurora-blobs/bin/aurora-blobs "$@"
