"""Writes deploy/nginx-site.conf: of deploy/nginx.conf what stands in its ``http`` block."""

from textwrap import dedent

from support.project import DEPLOY

SITE = DEPLOY / "nginx-site.conf"
_HEAD = """\
# nginx in front of aurora_blobs, a site of Debian's nginx. `make docs` writes it from nginx.conf.
#
# Place         /etc/nginx/sites-available/aurora-blobs, and a link in sites-enabled: docs/debian.md
# nginx         its user, www-data, in the group aurora-blobs: it reads blobs and opens the socket
"""


def nginx_site() -> str:
    """The site as nginx.conf has it."""
    before, _, block = (DEPLOY / "nginx.conf").read_text().partition("\nhttp {\n")
    http, end, after = block.rpartition("\n}\n")
    assert (end, after) == ("\n}\n", "")
    service = before[before.index("# The service") : before.index("\nuser ")]
    return f"{_HEAD}{service}\n{dedent(http)}\n"


if __name__ == "__main__":
    SITE.write_text(nginx_site())
