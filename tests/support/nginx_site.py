"""Writes what deploy/nginx.conf is in other places: nginx-site.conf and nginx-balancer.conf.

The site has what stands in its ``http`` block. The balancer is in front of nodes on other machines,
whose bytes lie in S3: it has no files of the service.
"""

import re
from textwrap import dedent

from support.project import DEPLOY

SITE = DEPLOY / "nginx-site.conf"
BALANCER = DEPLOY / "nginx-balancer.conf"
_HEAD = """\
# nginx in front of aurora_blobs, a site of Debian's nginx. `make docs` writes it from nginx.conf.
#
# Place         /etc/nginx/sites-available/aurora-blobs, and a link in sites-enabled: docs/debian.md
# nginx         its user, www-data, in the group aurora-blobs: it reads blobs and opens the socket
"""
_BALANCER_HEAD = """\
# nginx in front of several nodes of aurora_blobs: docs/scale.md. `make docs` writes it from
# nginx.conf.
#
# Place         /etc/nginx/nginx.conf, on a machine of its own
# The nodes     the settings of node.env; this machine alone may reach them
# To change     the addresses in "upstream"; the numbers marked "5 MiB" if
#               AURORA_BLOBS_MAX_BLOB_SIZE is another; for HTTPS, take away each "#tls "

user www-data;
"""
_UPSTREAM = """\
    upstream aurora_blobs {
        zone aurora_blobs 256k;  # what one process of nginx sees of a node, all know
        least_conn;              # a node that waits for its database gets less
        # A node that has given no answer three times is not asked for ten seconds. An error is
        # an answer: else a request that always fails could take out all nodes.
        server 10.0.0.11:2583 max_fails=3 fail_timeout=10s;
        server 10.0.0.12:2583 max_fails=3 fail_timeout=10s;
        keepalive 64;
"""
_CONNECT = "        proxy_connect_timeout 2s;  # the nodes are near"
_NEXT = """\
        # Another node is asked if one cannot be reached. If it was reached and gave no answer,
        # nobody knows what it has done: what only reads is asked again, and a POST never.
        proxy_next_upstream error timeout;
        proxy_next_upstream_tries 3;
        proxy_next_upstream_timeout 20s;  # later no other is begun with
"""
_GET_BLOB = """\
        location = /xrpc/com.atproto.sync.getBlob {
            # A machine that is gone without a word takes what is sent on old connections. Another
            # one is asked then, later than a node gives up the store (30 s).
            proxy_read_timeout 40s;
            proxy_next_upstream_timeout 45s;
            proxy_pass http://aurora_blobs;
        }
"""
_PICTURES = """\
        location /img/ {
            proxy_pass http://aurora_blobs;
        }
"""


def nginx_site() -> str:
    """The site as nginx.conf has it."""
    before, _, block = (DEPLOY / "nginx.conf").read_text().partition("\nhttp {\n")
    http, end, after = block.rpartition("\n}\n")
    assert (end, after) == ("\n}\n", "")
    service = before[before.index("# The service") : before.index("\nuser ")]
    return f"{_HEAD}{service}\n{dedent(http)}\n"


def nginx_balancer() -> str:
    """The balancer as nginx.conf has it, without the files of one machine."""
    text = (DEPLOY / "nginx.conf").read_text()
    for begin, end, instead in (
        ("# nginx in front", "worker_processes", _BALANCER_HEAD),
        ("    # A blob of the open shelf (below)", "    map $status $aurora_status", ""),
        ("    # Ranges that nginx reads", "    upstream aurora_blobs", ""),
        ("    upstream aurora_blobs", "        keepalive_timeout 60s;", _UPSTREAM),
        ("        proxy_connect_timeout 5s;", "\n        proxy_read", _CONNECT),
        ("        proxy_next_upstream off;\n", "        proxy_buffers", _NEXT),
        ("        # The open shelf", "        # The store of a PDS", _GET_BLOB),
        ("        # The store of a PDS", "        location = /xrpc/com.atproto.sync.listBlobs", ""),
        ("        # Thumbnails that", "        location ~ ^/\\.well-known/(did", _PICTURES),
        ("        # Where the service sends", "        # The same for a store", ""),
        ("        # The same for a store", " that speaks S3", "        # A store"),
    ):
        text = _replaced(text, begin, end, instead)
    return text.replace("$aurora_asked_", "$aurora_")  # there is nothing that is known beforehand


def _replaced(text: str, begin: str, end: str, instead: str) -> str:
    """*text* with *instead* in place of what reaches from *begin* up to *end*."""
    assert text.count(begin) == 1, begin
    pattern = f"{re.escape(begin)}.*?(?={re.escape(end)})"
    text, count = re.subn(pattern, lambda _: instead, text, flags=re.DOTALL)
    assert count == 1, (begin, end)
    return text


if __name__ == "__main__":
    SITE.write_text(nginx_site())
    BALANCER.write_text(nginx_balancer())
