"""A fast PDS that never changes: nginx with files, and a stream in which nothing happens."""

import json
import os
from urllib.parse import quote

from support.car_files import reference
from support.cids import cid_of
from support.fake_pds import Repo
from support.nginx import own

from aurora_blobs.clock import system_clock

_PAGE = 500
# A name in a query is as it was sent, so files have encoded names.
_SERVER = """
    log_format connections '$connection $request_uri';
    server {
        listen 127.0.0.1:PORT;
        access_log connections.log connections;
        keepalive_requests 100000;
        root FOLDER;
        location = /xrpc/com.atproto.server.describeServer { try_files /server =404; }
        location = /xrpc/com.atproto.sync.listRepos { try_files /page$arg_cursor =404; }
        location = /xrpc/com.atproto.sync.getRepo { try_files /$arg_did/repository =404; }
        location = /xrpc/com.atproto.sync.getBlob {
            default_type image/jpeg;
            try_files /$arg_did/$arg_cid =404;
        }
        location = /xrpc/com.atproto.sync.subscribeRepos {
            proxy_pass STREAM;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            proxy_read_timeout 1h;
        }
        location /did: { rewrite ^/(.*)$ /documents/$1 break; }
    }
"""


class StaticPds:
    """*accounts* with *each* blobs of *size* bytes, in files in *folder*.

    *stream* is the URL of a PDS that has the stream. `blobs` are DID and CID of each.
    """

    def __init__(self, folder, stream, *, accounts, each, size):
        self.nginx = own(
            folder, _SERVER.replace("FOLDER", str(folder / "files")).replace("STREAM", stream)
        )
        self.url = f"http://127.0.0.1:{self.nginx.port}"
        self._files = folder / "files"
        (self._files / "documents").mkdir(parents=True)
        (self._files / "server").write_text(json.dumps({"did": "did:web:127.0.0.1"}))
        self.blobs = []
        listed = [self._make(number, each, size) for number in range(accounts)]
        for start in range(0, accounts, _PAGE):
            end = start + _PAGE
            after = {"cursor": str(end)} if end < accounts else {}
            (self._files / f"page{start or ''}").write_text(
                json.dumps({"repos": listed[start:end], **after})
            )

    def url_of(self, did, cid):
        return f"{self.url}/xrpc/com.atproto.sync.getBlob?did={quote(did, safe='')}&cid={cid}"

    def asked(self, method):
        """The connection and the path of each request for *method*."""
        lines = (self.nginx.folder / "connections.log").read_text().splitlines()
        return [tuple(line.split()) for line in lines if f".{method}?" in line]

    def _make(self, number, each, size):
        did = f"did:plc:{'a' * 20}{''.join('abcdefghij'[int(digit)] for digit in f'{number:04}')}"
        folder = self._files / quote(did, safe="")
        folder.mkdir()
        repo, writes = Repo(did, system_clock), {}
        for position in range(each):
            data = os.urandom(size)
            (folder / cid_of(data)).write_bytes(data)
            writes[f"com.example.file/{position}"] = {"file": reference(data)}
            self.blobs.append((did, cid_of(data)))
        repo.change(writes)
        (folder / "repository").write_bytes(repo.file())
        service = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": self.url,
        }
        document = {**repo.signer.document(did), "service": [service]}
        (self._files / "documents" / did).write_text(json.dumps(document))
        return {"did": did, "rev": repo.rev, "active": True}
