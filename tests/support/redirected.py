"""Follows redirects to a public address, in a network of its own that has it. Prints JSON.

unshare --map-root-user --net python -m support.redirected FOLDER
"""

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

from support.certificates import certificate
from support.document_server import send, serving

from aurora_blobs.auth.fetch import FetchFailed, opened
from aurora_blobs.auth.resolver import Resolver

ADDRESS, NAME = "93.184.216.34", "cdn.example.com"


def main(folder: Path) -> None:
    for words in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/32", "dev", "lo"]):
        subprocess.run(["ip", *words], check=True)
    pem = certificate(NAME, folder)
    os.environ["SSL_CERT_FILE"] = str(pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    asked = []

    def answer(handler):
        asked.append(handler.path)
        left = int(handler.path[1:])
        if left:
            send(handler, b"", 302, Location=f"https://{NAME}:{port}/{left - 1}")
        else:
            send(handler, b"bytes")

    def names(host, port, **_):
        return [(2, 1, 6, "", (ADDRESS if host == NAME else host, port))]

    def follow(count):
        asked.clear()
        try:
            with opened(
                f"http://{first}/{count}",
                allowed=None,
                timeout_seconds=10,
                max_received=10_000,
                redirects=3,
                resolver=Resolver(lookup=names),
            ) as found:
                return found.status, found.read().decode(), len(asked)
        except FetchFailed as error:
            return str(error)

    with serving(answer, tls, ADDRESS) as address, serving(answer) as first:
        port = address.rpartition(":")[2]
        print(json.dumps([follow(count) for count in (0, 1, 3, 4)]))


main(Path(sys.argv[1]))
