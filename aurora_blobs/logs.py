"""The log: a line for each event, for people or as JSON, and none that a client's bytes can break.

Everything is logged by `logging`; `configure` decides what becomes of it. What happens to a request
is an `event`, whose values are fields and not words of a sentence.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from itertools import count

FORMATS = ("text", "json")
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Characters. With them a line stays far below the 4 KiB that a pipe takes at once, whoever else
# writes into it: a guess.
_MAX_MESSAGE = 500
_MAX_FIELD = 200
_MAX_TRACEBACK = 50_000  # of a traceback, which has its lines to itself
# Of what strangers cause; a guess, far above what an operator reads.
LINES_PER_SECOND = 50
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# The attributes of a record that an event has for formats of others alone.
_UNSHOWN = {
    **dict.fromkeys(("pathname", "filename", "module", "funcName"), ""),
    **dict.fromkeys(("exc_info", "exc_text", "stack_info", "thread", "process", "taskName")),
    **{"threadName": "", "processName": "", "lineno": 0, "relativeCreated": 0.0, "args": ()},
}
_log = logging.getLogger(__name__)
# Of the request that this thread answers: its id, and when it began.
_request: ContextVar[tuple[str, float] | None] = ContextVar("request", default=None)
_numbers = count()
_process_id = os.urandom(10).hex()
_formatter: logging.Formatter | None = None


def configure(form: str, level: str) -> None:
    """Have this process log to the standard error, as *form* says, what is *level* or above.

    They are of `FORMATS` and `LEVELS`. The first call counts, also in processes that are forked.
    """
    global _formatter
    if _formatter is not None:
        return
    _formatter = _Json() if form == "json" else _Text()
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter)
    # Of libraries warnings alone: below that they repeat what they send, credentials too.
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    logging.getLogger("aurora_blobs").setLevel(LEVELS[level])
    logging.captureWarnings(True)
    threading.excepthook = _log_failed_thread
    # What no line here shows, and half of what a record costs:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def formatter() -> logging.Formatter:
    """What makes the lines of this process, for a handler of somebody else's."""
    return _formatter or _Text()


def event(
    log: logging.Logger,
    level: int,
    message: str,
    *,
    raised: BaseException | None = None,
    hidden: Iterable[str] = (),
    **fields: object,
) -> None:
    """Log *message* with *fields*; None is left out. docs/operate.md has their names.

    *raised* is shown with its traceback, out of which *hidden* are cut.
    """
    if log.isEnabledFor(level):
        log.handle(_Event(log.name, level, message, raised, hidden, fields))


def begin_request(given: str | None = None) -> str:
    """The id of the request that this thread answers from now on: *given*, if it can be one."""
    if given is None or not _REQUEST_ID.fullmatch(given):
        given = f"{_process_id}{next(_numbers):012x}"
    _request.set((given, time.monotonic()))
    return given


def end_request() -> None:
    """The thread answers no request any more."""
    _request.set(None)


def request_id() -> str | None:
    """The id of the request that this thread answers."""
    request = _request.get()
    return None if request is None else request[0]


def request_milliseconds() -> int | None:
    """Since that request began."""
    request = _request.get()
    return None if request is None else round(1000 * (time.monotonic() - request[1]))


class Sparing:
    """Lets so many lines of a kind into the log, which strangers can cause by the thousand.

    Without a lock: threads may miscount by a few.
    """

    def __init__(self, per_second: int, seconds: Callable[[], float] = time.monotonic) -> None:
        """*seconds* is a monotonic clock."""
        self._per_second = per_second
        self._seconds = seconds
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def left_out(self) -> int | None:
        """Whether to log one more: None if not, else how many were left out since the last one."""
        second = int(self._seconds())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > self._per_second:
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out


def printable(text: str) -> str:
    r"""*text* with escapes, like ``\u001b``, for what a terminal would obey or could not show.

    JSON with them says the same as before.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


class _Event(logging.LogRecord):
    """A record without what no line here shows, which is half of what a record costs."""

    def __init__(
        self,
        name: str,
        level: int,
        message: str,
        raised: BaseException | None,
        hidden: Iterable[str],
        fields: dict[str, object],
    ) -> None:
        now = time.time()
        self.__dict__.update(
            _UNSHOWN,
            name=name,
            levelno=level,
            levelname=logging.getLevelName(level),
            msg=message,
            created=now,
            msecs=int(now * 1000) % 1000,
            fields=fields,
        )
        if raised is not None:
            self.exc_info = (type(raised), raised, raised.__traceback__)
            self.hidden = hidden


class _Text(logging.Formatter):
    """``time level logger message name=value …``; a traceback's lines begin like this, too."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_moment(record)} {record.levelname} {record.name} "
        message = printable(_cut(record.getMessage(), _MAX_MESSAGE))
        request = _request.get()
        id_ = "" if request is None else f" request={request[0]}"
        line = f"{head}{message}{id_}{_as_text(getattr(record, 'fields', {}))}"
        if not record.exc_info:
            return line
        lines = _traceback(self, record).splitlines()
        return "\n".join([line, *(f"{head}| {printable(one)}" for one in lines)])


class _Json(logging.Formatter):
    """An object with the same fields, and the traceback as one of them."""

    def format(self, record: logging.LogRecord) -> str:
        shown: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(record.getMessage(), _MAX_MESSAGE),
        }
        request = _request.get()
        if request is not None:
            shown["request"] = request[0]
        for name, value in getattr(record, "fields", {}).items():
            if value is not None:
                shown[name] = _cut_field(name, value) if isinstance(value, str) else value
        if record.exc_info:
            shown["traceback"] = _traceback(self, record)
        return printable(json.dumps(shown, ensure_ascii=False))


def _as_text(fields: dict[str, object]) -> str:
    text = "".join([f" {name}={value}" for name, value in fields.items() if value is not None])
    # All at once: one by one they would take as long as all else together.
    if len(text) <= _MAX_FIELD and _is_plain(text, len(fields) - list(fields.values()).count(None)):
        return text
    return "".join(
        f" {name}={_quoted(_cut_field(name, str(value)))}"
        for name, value in fields.items()
        if value is not None
    )


def _is_plain(text: str, count: int) -> bool:
    """Whether *text* has *count* fields whose values need no quotes."""
    return (
        text.isascii()
        and text.isprintable()
        and text.count(" ") == text.count("=") == count
        and '"' not in text
        and "= " not in text
        and text[-1:] != "="
    )


def _quoted(value: str) -> str:
    """*value*, in quotes unless it is plain."""
    if _is_plain(f" ={value}", 1):
        return value
    return printable(json.dumps(value, ensure_ascii=False))


def _cut_field(name: str, text: str) -> str:
    return _cut(text, _MAX_MESSAGE if name == "reason" else _MAX_FIELD)


def _cut(text: str, length: int) -> str:
    """The beginning of *text* that has *length* characters at most when it is `printable`."""
    if len(text) <= length and text.isprintable():
        return text
    begin = text[:length]
    while len(printable(begin)) > length:
        begin = begin[: len(begin) * 3 // 4]
    return text if begin == text else begin[:-1] + "…"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    text = formatter.formatException(record.exc_info)
    for secret in getattr(record, "hidden", ()):
        text = text.replace(secret, "…")
    # Its end says what happened.
    return text if len(text) <= _MAX_TRACEBACK else "…" + text[1 - _MAX_TRACEBACK :]


def _log_failed_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and failure.exc_type is not SystemExit:
        event(_log, logging.ERROR, "a thread has failed", raised=failure.exc_value)


def _rename_process() -> None:
    global _process_id
    _process_id = os.urandom(10).hex()


os.register_at_fork(after_in_child=_rename_process)


def _moment(record: logging.LogRecord) -> str:
    """When *record* was made as ISO 8601, UTC, to the millisecond."""
    return f"{_second(int(record.created))}.{int(record.msecs):03}Z"


@lru_cache(4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
