"""Each order of the console leaves a row of who, when and why, which a page shows."""

import io
import json

import pytest
from support.cids import cid_of
from support.media_samples import jpeg


@pytest.fixture
def acts(app):
    """``acts()`` gives what `audit list` says, the oldest first: action, DID, CID, reason."""

    def acts():
        output = app.test_cli_runner().invoke(args=["audit", "list", "--json"]).output
        rows = [json.loads(line) for line in output.splitlines()]
        assert {(row["actor"], row["via"]) for row in rows} <= {("admin", "console")}
        return [
            (row["action"], row.get("did"), row.get("cid"), row.get("reason"))
            for row in reversed(rows)
        ]

    return acts


def test_orders_on_a_blob_leave_their_reason(console, alice, acts):
    cid = alice.publish(jpeg("cat")).cid

    console.post(f"/blob/{cid}/take-down", did=alice.did, ref="7", reason="it is <b>not</b> hers")
    console.post(f"/blob/{cid}/lift", did=alice.did)

    assert [(action, did, reason) for action, did, _, reason in acts()] == [
        ("takedown", alice.did, "it is <b>not</b> hers"),
        ("lift", alice.did, None),
    ]


def test_orders_on_an_account_leave_a_row_each(console, alice, acts):
    path = f"/account/{alice.did}"
    for order, fields in (
        ("quota", {"quota": "1MB"}),
        ("deactivate", {}),
        ("activate", {}),
        ("take-down", {"reason": "spam"}),
        ("lift", {}),
        ("delete", {"typed": alice.did, "reason": "asked for"}),
    ):
        assert console.post(f"{path}/{order}", **fields).status_code == 303

    assert [(action, reason) for action, _, _, reason in acts()] == [
        ("quota", None),
        ("deactivate", None),
        ("activate", None),
        ("takedown", "spam"),
        ("lift", None),
        ("delete", "asked for"),
    ]


def test_a_list_leaves_a_row_for_each_of_its_blobs(console, acts):
    cids = sorted(cid_of(str(number).encode()) for number in range(3))
    file = io.BytesIO("\n".join(cids).encode())

    console.client.post(
        "/console/moderation/list",
        data={"token": console.token(), "list": (file, "a.txt"), "reason": "a list of bob's"},
    )

    assert sorted(acts()) == [("takedown", None, cid, "a list of bob's") for cid in cids]


def test_a_reason_that_is_too_long_is_refused(console, alice, acts):
    cid = alice.publish(jpeg("cat")).cid

    answer = console.post(f"/blob/{cid}/take-down", did="", reason="x" * 501)

    assert answer.status_code == 400
    assert "500 characters are accepted" in answer.text
    assert acts() == []


def page_of(console, query=""):
    """The page of the audit, and the orders on it."""
    page = console.page(f"/audit{query}")
    return page, [name for name in page.rows if "/" in name]


@pytest.fixture
def many(console, alice):
    """70 orders about alice, and one about a blob."""
    for number in range(70):
        console.post(f"/account/{alice.did}/quota", quota=str(number))
    console.post(f"/blob/{alice.publish(jpeg('cat')).cid}/take-down", did="", reason="<i>spam</i>")


def test_orders_are_shown_in_pages_as_audit_list_has_them(app, console, many):
    output = app.test_cli_runner().invoke(args=["audit", "list", "--json"]).output

    first, found = page_of(console)
    [following] = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    second, more = page_of(console, following.removeprefix("/console/audit"))

    assert len(found) == 50
    assert len({*found, *more}) == len(output.splitlines()) == 71
    assert "spam" in first.text
    assert "<i>spam" not in console.get("/audit").text


@pytest.mark.parametrize(
    "query, number",
    [
        ("?action=takedown", 1),
        ("?actor=nobody", 0),
        ("?actor=admin&action=takedown", 1),
        ("?subject=did:web:alice.test&action=lift", 0),
        ("?subject=did:web:alice.test", 50),
    ],
)
def test_orders_are_found_by_what_when_and_who(console, many, query, number):
    assert len(page_of(console, query)[1]) == number


@pytest.mark.parametrize(
    "query", ["?subject=x", "?action=x", "?after=x", "?after=1/2/3", f"?after={2**63}/1"]
)
def test_a_filter_that_makes_no_sense_is_told(console, query):
    answer = console.client.get(f"/console/audit{query}")

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
