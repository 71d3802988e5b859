"""DIDs of the tests, and an account that calls an application or a real server alike."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask.testing import FlaskClient
from support.http_client import HttpClient
from support.services import services_of

ALICE = "did:web:alice.test"
BOB = "did:web:bob.test"
CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"

ADMIN = ("admin", "open sesame")
UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"
GET_BLOB = "/xrpc/com.atproto.sync.getBlob"


class Published(NamedTuple):
    """A blob with a record: the reference to the blob, and the record's key."""

    blob: dict[str, Any]
    rkey: str

    @property
    def cid(self) -> str:
        return self.blob["ref"]["$link"]


@dataclass(frozen=True)
class Account:
    """An account with an access token. *client* is Flask's test client or a server."""

    did: str
    token: str
    client: FlaskClient | HttpClient

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def services(self):
        """The `Services` of the application, if the client is Flask's."""
        return services_of(self.client.application)

    def at(self, client):
        """The same account on another *client*."""
        return replace(self, client=client)

    def upload(self, data, mime_type="image/jpeg", **headers):
        return self.client.post(
            UPLOAD, data=data, headers={**self.headers, "Content-Type": mime_type, **headers}
        )

    def blob(self, data, mime_type="image/jpeg"):
        """Upload *data*; the reference in the answer."""
        answer = self.upload(data, mime_type)
        assert answer.status_code == 200, answer.text
        return answer.json["blob"]

    def post(self, method, **given):
        return self.client.post(f"/xrpc/{method}", json=given, headers=self.headers)

    def get(self, method, **parameters):
        return self.client.get(f"/xrpc/{method}", query_string=parameters, headers=self.headers)

    def record(self, value, collection="com.example.file", **more):
        return self.post(
            "com.atproto.repo.createRecord",
            repo=self.did,
            collection=collection,
            record=value,
            **more,
        )

    def publish(self, data, mime_type="image/jpeg"):
        """Upload *data* and name it in a record."""
        blob = self.blob(data, mime_type)
        answer = self.record({"file": blob})
        assert answer.status_code == 200, answer.text
        return Published(blob, answer.json["uri"].rpartition("/")[2])

    def fetch(self, cid, did=None, **headers):
        """getBlob without credentials."""
        return self.client.get(
            GET_BLOB,
            query_string={"did": did or self.did, "cid": cid},
            headers=headers,
            buffered=True,
        )


def sign_up(client, handle="alice.test", *, password="correct horse", invite_code=None):
    """Create the account *handle* with createAccount."""
    answer = client.post(
        "/xrpc/com.atproto.server.createAccount",
        json={
            "handle": handle,
            "email": f"{handle}@example.com",
            "password": password,
            **({} if invite_code is None else {"inviteCode": invite_code}),
        },
    )
    assert answer.status_code == 200, answer.text
    return Account(answer.json["did"], answer.json["accessJwt"], client)


def blob_path(did, cid):
    """The path of getBlob with its query."""
    return f"{GET_BLOB}?{urlencode({'did': did, 'cid': cid})}"


def take_down(client, did, cid):
    """Take down the blob *cid* of *did* as the administrator."""
    answer = set_takedown(client, did, cid, True)
    assert answer.status_code == 200, answer.text


def set_takedown(client, did, cid, applied):
    """The answer to the administrator, who takes down the blob *cid* of *did* or lifts that."""
    return client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {"$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid},
            "takedown": {"applied": applied, "ref": "1"},
        },
        auth=ADMIN,
    )
