"""How the process that derives a picture answers: `STARTED`, then what `derived` or `refused` makes."""

STARTED = b"s"
_DERIVED, _REFUSED = b"1", b"0"
_SIZE = 8  # bytes of the picture's length: the process may die while it sends


def derived(picture: bytes) -> bytes:
    """The answer that is *picture*."""
    return _DERIVED + len(picture).to_bytes(_SIZE) + picture


def refused(reason: str) -> bytes:
    """The answer that there is no picture, and why."""
    return _REFUSED + reason.encode()


def parse_reply(answer: bytes) -> bytes | str | None:
    """The picture in *answer*, or the reason for there being none; None where the process died before its end."""
    body = answer[len(STARTED) :]
    if body.startswith(_REFUSED):
        return body[len(_REFUSED) :].decode(errors="replace")
    size, picture = body[len(_DERIVED) :][:_SIZE], body[len(_DERIVED) + _SIZE :]
    if not body.startswith(_DERIVED) or len(size) != _SIZE or len(picture) != int.from_bytes(size):
        return None
    return picture
