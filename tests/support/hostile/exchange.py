"""One attack on one connection: how it is delivered, and what has to come back."""

from collections.abc import Callable

from support.hostile import judge
from support.hostile.grammar import Attack
from support.hostile.request import Answers, Request
from support.wire import Reply, Wire

Note = Callable[[str], None]


class Exchange:
    """*note* is told what is wrong. `answered` are the statuses that came back."""

    def __init__(self, wire: Wire, attack: Attack, *, is_proxied: bool, note: Note) -> None:
        self.answered: list[int] = []
        self._wire = wire
        self._attack = attack
        self._is_proxied = is_proxied
        self._note = note

    def run(self, data: bytes, following: bytes, is_right: Callable[[bytes], bool]) -> None:
        """Send *data*, the attack, and *following*, an honest request, where one can follow.

        *is_right* tells whether a body is the answer to that. Raises NotHttp, Silence.
        """
        wire, attack = self._wire, self._attack
        if attack.delivery in ("closed early", "reset early"):
            wire.send(data[: attack.cuts[0]])
            wire.flush()
            wire.reset() if attack.delivery == "reset early" else wire.close()
            return
        if attack.delivery == "half of it":
            wire.send(data[: attack.cuts[0]])
            self._read_whatever_comes()
            return
        for start, end in zip([0, *attack.cuts], [*attack.cuts, len(data)], strict=True):
            wire.flush()
            wire.send(data[start:end])
        if attack.delivery == "with the next":
            wire.send(following)
        if attack.delivery == "mutated" or self._has(Answers.ANY):
            self._read_whatever_comes()
        elif self._read_each():
            if attack.delivery != "with the next":
                wire.send(following)
            self._read_following(is_right)

    def _has(self, answers: Answers) -> bool:
        return any(request.answers is answers for request in self._attack.requests)

    def _read_each(self) -> bool:
        """Read an answer to each request; whether another request can follow."""
        wire = self._wire
        for request in self._attack.requests:
            is_sure = request.answers is Answers.ONCE
            if not is_sure:
                # A reader that waits for more of it is told that no more comes.
                wire.finish()
            reply = wire.reply(request.verb)
            if reply is None:
                if is_sure:
                    self._note("no answer" + (", a reset" if wire.was_reset else ""))
                return False
            self._judge(request, reply)
            if reply.closes:
                # Who has not read a head does not know that it is of a HEAD.
                is_unread = reply.status in (400, 414, 417, 431, 501) and request.verb == "HEAD"
                if wire.rest() and not is_unread:
                    self._note("bytes after the last answer")
                return False
        return True

    def _read_following(self, is_right: Callable[[bytes], bool]) -> None:
        reply = self._wire.reply()
        if reply is None:
            if not self._has(Answers.PERHAPS):
                self._note("closed without a word, behind an answer that keeps the connection")
            return
        if reply.status != 200 or not is_right(reply.body):
            self._note(f"the next request was answered wrongly: {reply.status} {reply.body[:80]!r}")
        self._wire.finish()
        if self._wire.rest():
            self._note("an answer too many")

    def _read_whatever_comes(self) -> None:
        wire, requests = self._wire, self._attack.requests
        wire.finish()
        if any(b"HEAD" in request.method for request in requests):
            wire.rest()  # which of the answers is to a HEAD is not known here
            return
        while (reply := wire.reply()) is not None:
            self._judge(requests[0], reply, is_as_made=False)

    def _judge(self, request: Request, reply: Reply, *, is_as_made: bool = True) -> None:
        self.answered.append(reply.status)
        for complaint in judge.complaints(
            request, reply, is_proxied=self._is_proxied, is_as_made=is_as_made
        ):
            self._note(complaint)
