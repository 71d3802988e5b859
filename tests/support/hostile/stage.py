"""The scene of an attack: an honest account, what it has published, and an account that attacks."""

import random
import secrets
from collections.abc import Callable

from support.accounts import ADMIN, Account, blob_path, sign_up
from support.http_client import HttpClient
from support.media_samples import picture

PASSWORD = "correct horse"  # Mallory's
CANARIES = 32  # records whose answers differ, so that a wrong one is seen
_COLLECTION = "com.example.canary"


class Stage:
    """`alice` is honest, and nobody attacks with her credentials. `mallory` attacks."""

    def __init__(self, server: HttpClient) -> None:
        self.server = server
        self.admin = ADMIN
        self.alice = sign_up(server, "alice.test", password=secrets.token_hex())
        photo = picture("JPEG") + bytes(random.Random(1).randbytes(200_000))
        self.published = self.alice.publish(photo).cid
        self.temporary = self.alice.blob(picture("PNG") + b"temporary", "image/png")["ref"]["$link"]
        self.canaries = [secrets.token_hex(8) for _ in range(CANARIES)]
        for number, canary in enumerate(self.canaries):
            answer = self.alice.record({"canary": canary}, _COLLECTION, rkey=f"n{number}")
            assert answer.status_code == 200, answer.text
        self.mallory = self._sign_up()

    def canary(self, chance: random.Random) -> tuple[bytes, Callable[[bytes], bool]]:
        """A request of an honest client, and whether a body is the right answer to it."""
        number = chance.randrange(CANARIES)
        target = (
            f"/xrpc/com.atproto.repo.getRecord?repo={self.alice.did}&collection={_COLLECTION}"
            f"&rkey=n{number}"
        )
        wire = f"GET {target} HTTP/1.1\r\nHost: alice.test\r\n\r\n".encode()
        return wire, lambda body: self.canaries[number].encode() in body

    def visit(self, chance: random.Random) -> None:
        """Do what honest clients do; all of it has to succeed."""
        data = picture("PNG") + chance.randbytes(chance.choice([9, 3000, 90_000]))
        blob = self.alice.blob(data, "image/png")
        made = self.alice.record({"file": blob})
        assert made.status_code == 200, (made.status_code, made.text)
        got = self.server.get(blob_path(self.alice.did, blob["ref"]["$link"]))
        assert (got.status_code, got.data) == (200, data), (got.status_code, got.data[:200])
        gone = self.alice.post(
            "com.atproto.repo.deleteRecord",
            repo=self.alice.did,
            collection="com.example.file",
            rkey=made.json["uri"].rpartition("/")[2],
        )
        assert gone.status_code == 200, (gone.status_code, gone.text)

    def renew(self) -> None:
        """Make another account to attack with, if the last one has been spoilt."""
        if self.mallory.get("com.atproto.server.checkAccountStatus").status_code == 200:
            return
        self.mallory = self._sign_up()

    def _sign_up(self) -> Account:
        account = sign_up(self.server, f"m{secrets.token_hex(5)}.test", password=PASSWORD)
        answer = self.server.post(
            "/xrpc/com.atproto.server.createSession",
            json={"identifier": account.did, "password": PASSWORD},
        )
        assert answer.status_code == 200, answer.text
        self.refresh = answer.json["refreshJwt"]
        self.handle = answer.json["handle"]
        self.loot = account.publish(picture("PNG") + secrets.token_bytes(9), "image/png").cid
        return account
