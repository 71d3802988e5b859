"""Local accounts that call an application's methods through Flask's test client."""

import json
from dataclasses import dataclass

from flask.testing import FlaskClient

UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"
GET_BLOB = "/xrpc/com.atproto.sync.getBlob"
ADMIN = ("admin", "open sesame")


@dataclass(frozen=True)
class Member:
    """An account, its access token and a client to use it with."""

    did: str
    token: str
    client: FlaskClient

    @classmethod
    def of(cls, app, handle):
        accounts = app.extensions["aurora_blobs"].accounts
        account = accounts.create(
            handle=handle, email=f"{handle}@example.com", password="correct horse"
        )
        return cls(account.did, accounts.access_token(account), app.test_client())

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.token}"}

    def upload(self, data, mime_type="image/jpeg", **headers):
        return self.client.post(
            UPLOAD, data=data, headers={**self.headers, "Content-Type": mime_type, **headers}
        )

    def blob(self, data, mime_type="image/jpeg"):
        """Upload *data*; the reference that came back."""
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
        """Upload *data* and name it in a record; the reference and the record's key."""
        blob = self.blob(data, mime_type)
        answer = self.record({"file": blob})
        assert answer.status_code == 200, answer.text
        return blob, answer.json["uri"].rpartition("/")[2]

    def fetch(self, cid, did=None, **headers):
        """getBlob as everybody calls it."""
        return self.client.get(
            GET_BLOB,
            query_string={"did": did or self.did, "cid": cid},
            headers=headers,
            buffered=True,
        )


def jpeg(text):
    """Bytes that are a JPEG to whoever looks at their start, and differ by *text*."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + json.dumps(text).encode()
