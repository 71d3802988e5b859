"""Each order of the console leaves a row of who, when and why."""

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
