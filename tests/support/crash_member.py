"""Somebody who knows what was answered, and looks whether it is true, while the service dies."""

import random
import threading
from collections import Counter
from http.client import HTTPException

from support.accounts import set_takedown
from support.cids import cid_of

COLLECTION = "com.example.crash"


class Member(threading.Thread):
    """Publishes *contents*, deletes, takes down, lifts and looks, at random, until `leave`.

    `named` and `down` say of each content whether a record names it and whether it is taken down.
    None is not known: the answer did not come. `wrong` has what contradicts an answer.
    """

    def __init__(self, account, contents, seed):
        super().__init__(name=account.did)
        self.account = account
        self.contents = contents
        self.named = dict.fromkeys(contents, False)
        self.down = dict.fromkeys(contents, False)
        self.answered, self.wrong = Counter(), []
        self._chance = random.Random(seed)
        self._left = threading.Event()

    def run(self):
        acts = [self.publish] * 4 + [self.look] * 4 + [self.delete, self.take_down, self.lift]
        while not self._left.is_set():
            self._chance.choice(acts)(self._chance.choice(self.contents))

    def leave(self):
        self._left.set()
        self.join()

    def publish(self, content):
        uploaded = self._call(lambda: self.account.upload(content))
        if uploaded is None or not self._is_allowed("upload", content, uploaded):
            return
        before = self.named[content]
        self.named[content] = before or None
        written = self._call(
            lambda: self.account.post(
                "com.atproto.repo.putRecord",
                **self._record(content),
                record={"file": uploaded.json["blob"]},
            )
        )
        if written is None:
            return
        if written.status_code == 400 and not before:
            self.named[content] = before  # the blob was collected or taken down
        elif self._is_allowed("record", content, written):
            self.named[content] = True

    def delete(self, content):
        self.named[content] = None if self.named[content] else self.named[content]
        deleted = self._call(
            lambda: self.account.post("com.atproto.repo.deleteRecord", **self._record(content))
        )
        if deleted is not None and self._is_allowed("deletion", content, deleted):
            self.named[content] = False

    def take_down(self, content):
        self._set_down(content, True)

    def lift(self, content):
        self._set_down(content, False)

    def look(self, content):
        """Fetch *content* as anybody may, and compare."""
        got = self._call(lambda: self.account.fetch(cid_of(content)))
        if got is None:
            return
        is_hidden = self.down[content] or self.named[content] is False
        is_public = self.named[content] and self.down[content] is False
        if got.status_code == 200 and (is_hidden or got.data != content):
            self._note("served", content, got)
        elif got.status_code != 200 and is_public:
            self._note("lost", content, got)

    def _set_down(self, content, applied):
        if self.down[content] is not applied:
            self.down[content] = None
        cid = cid_of(content)
        answer = self._call(
            lambda: set_takedown(self.account.client, self.account.did, cid, applied)
        )
        if answer is not None and self._is_allowed("takedown", content, answer):
            self.down[content] = applied

    def _is_allowed(self, kind, content, answer):
        """Whether *answer* is a success. A refusal is noted unless it may be for a takedown."""
        if answer.status_code == 200:
            self.answered[kind] += 1
            return True
        if answer.status_code != 400 or self.down[content] is False:
            self._note(kind, content, answer)
        return False

    def _note(self, kind, content, answer):
        state = f"named: {self.named[content]}, down: {self.down[content]}"
        self.wrong.append((kind, cid_of(content), state, answer.status_code, answer.data[:200]))

    def _record(self, content):
        rkey = cid_of(content)
        return {"repo": self.account.did, "collection": COLLECTION, "rkey": rkey}

    def _call(self, call):
        """The answer, None where the service died over it."""
        try:
            answer = call()
        except (OSError, HTTPException):
            return None
        return None if answer.status_code in (502, 503, 504) else answer
