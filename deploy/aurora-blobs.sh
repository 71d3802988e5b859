#!/bin/sh
# /usr/local/sbin/aurora-blobs, mode 0755: root runs the commands by it, as the service's user and with its settings.
exec runuser -u aurora-blobs -- sh -c '
    umask 0027
    set -a
    AURORA_BLOBS_BIND=unix:/run/aurora-blobs/gunicorn.sock
    AURORA_BLOBS_DATA_DIR=/var/lib/aurora-blobs
    AURORA_BLOBS_SIGNUPS=invite
    . /etc/aurora-blobs.env
    exec /opt/aurora-blobs/bin/aurora-blobs "$@"' aurora-blobs "$@"
