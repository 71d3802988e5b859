"""How a worker answers: `STARTED`, then what `derived` or `refused` makes."""

STARTED = b"s"
_DERIVED, _REFUSED = b"1", b"0"
_LENGTH = 8  # bytes of the image's length, which shows whether the worker died while it sent


def derived(image: bytes) -> bytes:
    """The answer that is *image*."""
    return _DERIVED + len(image).to_bytes(_LENGTH) + image


def refused(reason: str) -> bytes:
    """The answer that there is no image, and why."""
    return _REFUSED + reason.encode()


def parse_answer(answer: bytes | bytearray) -> bytes | str | None:
    """The image in *answer*, or the reason why there is none; None if the answer is cut off."""
    body = answer[len(STARTED) :]
    if body.startswith(_REFUSED):
        return body[len(_REFUSED) :].decode(errors="replace")
    length, image = body[len(_DERIVED) :][:_LENGTH], body[len(_DERIVED) + _LENGTH :]
    if not body.startswith(_DERIVED) or len(length) != _LENGTH:
        return None
    return bytes(image) if len(image) == int.from_bytes(length) else None
