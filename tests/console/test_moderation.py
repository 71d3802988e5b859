"""Takedowns in the console: found, lifted, and made by a list."""

import io
import json

import pytest
from support.accounts import take_down
from support.cids import cid_of
from support.media_samples import jpeg

from aurora_blobs.console.frame import MAX_LIST_BYTES
from aurora_blobs.console.moderation import MAX_LISTED


def listed(app):
    """What `takedown list` says: CID and DID of each."""
    output = app.test_cli_runner().invoke(args=["takedown", "list", "--json"]).output
    rows = [json.loads(line) for line in output.splitlines()]
    return [f"{row['cid'] or ''}/{row['did'] or ''}" for row in rows]


def shown(console, query=""):
    return [name for name in console.page(f"/moderation{query}").rows if "/" in name]


def send(console, text, **fields):
    data = text if isinstance(text, bytes) else text.encode()
    token = console.token()
    return console.client.post(
        "/console/moderation/list",
        data={"token": token, "list": (io.BytesIO(data), "list.txt"), **fields},
    )


@pytest.fixture
def many(app, client, alice):
    """Takedowns of blobs and of an account."""
    for number in range(70):
        take_down(client, alice.did, cid_of(str(number).encode()))
    app.test_cli_runner().invoke(args=["account", "takedown", alice.did, "--ref", "case 9"])


def test_takedowns_are_those_of_takedown_list_in_pages(app, console, many):
    first = console.page("/moderation")
    [following] = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    second = console.page(following.removeprefix("/console"))

    found = [name for page in (first, second) for name in page.rows if "/" in name]
    assert found == listed(app)
    assert len(found) == 71


@pytest.mark.parametrize(
    "text, number", [("did:web:alice.test", 71), ("case 9", 1), ("1", 70), ("case", 0)]
)
def test_a_search_finds_did_and_reference(console, many, text, number):
    first = console.page(f"/moderation?text={text}")
    nexts = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    more = [console.page(following.removeprefix("/console")) for following in nexts]

    assert sum("/" in name for page in (first, *more) for name in page.rows) == number


def test_a_search_for_a_cid_leads_to_its_page(console, alice):
    cid = alice.publish(jpeg("cat")).cid

    answer = console.client.get(f"/console/moderation?text={cid}")

    assert answer.headers["Location"] == f"/console/blob/{cid}"


def test_a_takedown_is_lifted_from_the_list(app, client, console, alice):
    cid = alice.publish(jpeg("cat")).cid
    take_down(client, alice.did, cid)

    answer = console.post("/moderation/lift", cid=cid, did=alice.did)

    assert answer.status_code == 303
    assert alice.fetch(cid).status_code == 200
    assert listed(app) == []


def test_the_takedown_of_a_deleted_account_is_lifted_from_the_list(app, console, alice):
    runner = app.test_cli_runner()
    runner.invoke(args=["account", "takedown", alice.did])
    runner.invoke(args=["account", "delete", alice.did, "--yes"])

    answer = console.post("/moderation/lift", cid="", did=alice.did)

    assert answer.status_code == 303
    assert listed(app) == []


def test_what_is_no_cid_lifts_nothing_from_the_list(app, console, alice):
    app.test_cli_runner().invoke(args=["account", "takedown", alice.did])

    answer = console.post("/moderation/lift", cid="no CID", did=alice.did)

    assert answer.status_code == 400
    assert listed(app) == [f"/{alice.did}"]


def test_a_list_takes_down_each_of_its_blobs_for_everybody(app, console, alice):
    seen = alice.publish(jpeg("cat")).cid
    unseen = cid_of(b"never seen")

    answer = send(console, f"# a list\n{seen}\n\n  {unseen}  # twice\n{unseen}\n", ref="case 3")

    assert answer.headers["Location"] == "/console/moderation?listed=2"
    assert sorted(listed(app)) == sorted([f"{seen}/", f"{unseen}/"])
    assert alice.fetch(seen).json["error"] == "BlobNotFound"
    assert sorted(shown(console, "?text=case+3")) == sorted(listed(app))


@pytest.mark.parametrize(
    "text, told",
    [
        (f"{cid_of(b'a')}\nnot a CID\n", "line 2 is no CID: not a CID"),
        (f"{cid_of(b'a')}\n<script>\n", "line 2 is no CID: &lt;script&gt;"),
        (b"\xff\xfe", "is no text"),
        (
            "\n".join(cid_of(str(number).encode()) for number in range(MAX_LISTED + 1)),
            f"accepted are {MAX_LISTED}",
        ),
    ],
    ids=["no CID", "markup", "no text", "too many"],
)
def test_a_list_that_is_wrong_somewhere_does_nothing(app, console, text, told):
    answer = send(console, text)

    assert answer.status_code == 400
    assert told in answer.text
    assert listed(app) == []


def test_a_list_that_is_too_large_is_refused(app, console):
    answer = send(console, b"#" * (MAX_LIST_BYTES + 1))

    assert answer.status_code == 413
    assert listed(app) == []


def test_a_form_without_a_file_is_told(console):
    assert console.post("/moderation/list").status_code == 400
