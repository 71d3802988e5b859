"""Whatever is asked of the console, it is answered, and never with a 500."""

import random
import re

import pytest
from support.media_samples import jpeg

from aurora_blobs import console as pages_of_console

VALUES = [
    *("", " ", "\0", "a\0b", "é", "𝒳", "\ufffe", "x" * 3000, "-1", "9" * 40, "NaN", "1e9"),
    *("did:web:alice.test", "did:", "did:web:", "alice.test", "..", "../..", "%2e%2e", "%00"),
    *("<script>", "'; DROP TABLE blob; --", "1/2/3", f"{10**17}/did:web:a.test/x", "a\r\nX: y"),
    *("0001-01-01", "9999-12-31", "2026-02-30", "1TiB", "public", "takendown", "default"),
    *(b"\xed\xa0\x80", b"\xff\xfe"),
]
NAMES = [
    *("account", "type", "state", "min", "max", "from", "to", "after", "clear", "text", "subject"),
    *("action", "actor", "collection", "done", "listed", "then", "new", "gc"),
    *("did", "ref", "reason", "quota", "typed", "cid", "list", "token", "password"),
]
WHOLE = b"--x\r\nContent-Disposition: form-data; name=list; filename=a\r\n\r\n\xff\r\n--x--\r\n"
TYPES = [
    "application/x-www-form-urlencoded",
    *("multipart/form-data", "multipart/form-data; boundary=x", "application/json", "", "a/b; c"),
]


def path_of(rule, values, chosen):
    """*rule* with odd or right values in place of its variable parts."""
    return re.sub(
        r"<(?:path:)?(\w+)>",
        lambda match: chosen.choice([values[match[1]], quoted(chosen.choice(VALUES))]),
        rule,
    )


def quoted(value):
    data = value if isinstance(value, bytes) else value.encode()
    return "".join(f"%{byte:02x}" for byte in data)[:6000] or "x"


@pytest.mark.parametrize("page", pages_of_console.PAGES, ids=lambda page: page[2])
def test_odd_values_are_told_to_be_wrong_or_do_nothing(console, alice, page):
    seed = random.randrange(2**32)
    print("seed", seed)
    chosen = random.Random(seed)
    rule, verbs, _ = page
    right = {
        "cid": alice.publish(jpeg("cat")).cid,
        **dict.fromkeys(("did", "name"), alice.did),
        **dict.fromkeys(("name", "rest"), "x"),
    }
    seen = {}
    for _ in range(25):
        path = f"/console{path_of(rule, right, chosen)}"
        query = "&".join(
            f"{name}={quoted(chosen.choice(VALUES))}" for name in chosen.sample(NAMES, 4)
        )
        form = "&".join(
            f"{name}={quoted(chosen.choice(VALUES))}" for name in chosen.sample(NAMES, 4)
        )
        answer = console.client.open(
            f"{path}?{query}",
            method=verbs[0],
            data=chosen.choice([WHOLE, form.encode(), b""]) if verbs == ["POST"] else None,
            headers={"Content-Type": chosen.choice(TYPES)} if verbs == ["POST"] else {},
        )
        seen[f"{path}?{query}"] = answer.status_code

    assert {path: status for path, status in seen.items() if status >= 500} == {}


@pytest.mark.parametrize("page", pages_of_console.PAGES, ids=lambda page: page[2])
def test_odd_forms_of_the_right_session_are_told_to_be_wrong_or_obeyed(console, alice, page):
    rule, verbs, view = page
    if_posted = [] if verbs != ["POST"] or view.startswith("frame.") else VALUES
    values = {"cid": alice.publish(jpeg("cat")).cid, "name": alice.did}
    path = re.sub(r"<(\w+)>", lambda match: values.get(match[1], "x"), rule)
    token = console.token()

    answers = [
        console.client.post(
            f"/console{path}",
            data={name: value for name in NAMES if name != "list"} | {"token": token},
        ).status_code
        for value in if_posted
    ]

    assert [status for status in answers if status >= 500] == []
