"""How long to wait after a failure before the next try."""

HOST = (1, 2, 5, 10, 30, 60)
ACCOUNT = (5, 30, 120, 600, 3600, 6 * 3600, 86_400)
# A blob that the PDS does not have may be on its way; the second refusal comes 10 minutes later.
BLOB = (600, 3600, 6 * 3600, 86_400)
# What a client asked for and could not have; others ask for it at any time.
NOT_HAD = (300, 3600, 6 * 3600, 86_400)
SILENT_BLOB = (5, 30, 120, 600, 3600)


def pause_seconds(pauses: tuple[int, ...], tries: int) -> int:
    """The pause of *pauses* after *tries* have failed before: ever longer, up to the last."""
    return pauses[min(tries, len(pauses) - 1)]
