"""Accounts: what their pages show, and what the orders on them do."""

import json

import pytest
from support.accounts import sign_up
from support.console import Console
from support.media_samples import jpeg
from support.services import services_of

FACTS = {
    *("blobs", "usedBytes", "temporaryBytes", "quotaBytes"),
    *("records", "referencedBlobs", "storedBlobs"),
}


def shown(app, did):
    result = app.test_cli_runner().invoke(args=["account", "show", did, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_every_number_is_that_of_account_show(app, console, alice):
    alice.publish(jpeg("cat"))
    alice.blob(jpeg("dog"))
    app.test_cli_runner().invoke(args=["account", "quota", alice.did, "2GiB"])

    command = shown(app, alice.did)
    rows = console.page("/account/alice.test").rows

    assert {name: rows[name] for name in FACTS} == {name: [command[name]] for name in FACTS}
    assert command["blobs"] == 2


def test_all_accounts_come_in_pages_as_account_list_has_them(app, console, client):
    for number in range(60):
        sign_up(client, f"person{number:02}.test")
    lines = app.test_cli_runner().invoke(args=["account", "list", "--json"]).output.splitlines()

    first = console.page("/accounts")
    [following] = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    second = console.page(following.removeprefix("/console"))

    dids = [name for page in (first, second) for name in page.rows if name.startswith("did:")]
    assert dids == [json.loads(line)["did"] for line in lines]


def test_a_search_leads_to_the_account(console, alice):
    answer = console.client.get("/console/accounts?account=ALICE.test")

    assert answer.headers["Location"] == f"/console/account/{alice.did}"
    nobody = console.client.get("/console/accounts?account=<nobody>")
    assert nobody.status_code == 404
    assert "There is no account &lt;nobody&gt;" in nobody.text


@pytest.mark.parametrize(
    "text, in_force", [("1MB", 1_000_000), ("0", 0), ("default", 5_000)], ids=str
)
def test_a_quota_is_set(open_app, text, in_force):
    app = open_app(ADMIN_PASSWORD="open sesame", QUOTA="5000")
    console = Console(app.test_client())
    console.sign_in()
    alice = sign_up(app.test_client())
    console.post(f"/account/{alice.did}/quota", quota="77")

    answer = console.post(f"/account/{alice.did}/quota", quota=text)

    assert answer.status_code == 303
    assert shown(app, alice.did)["quotaBytes"] == in_force


@pytest.mark.parametrize("text", ["", "lots", "-1", "9" * 30])
def test_a_quota_that_is_none_changes_nothing(app, console, alice, text):
    answer = console.post(f"/account/{alice.did}/quota", quota=text)

    assert answer.status_code == 400
    assert "accepted" in answer.text
    assert shown(app, alice.did)["quotaIsDefault"]


@pytest.mark.parametrize(
    "order, back, error",
    [("deactivate", "activate", "RepoDeactivated"), ("take-down", "lift", "RepoTakendown")],
)
def test_an_order_holds_at_the_next_get_blob_until_it_is_undone(console, alice, order, back, error):
    cid = alice.publish(jpeg("cat")).cid

    console.post(f"/account/{alice.did}/{order}")
    during = alice.fetch(cid)
    console.post(f"/account/{alice.did}/{back}")

    assert during.json["error"] == error
    assert alice.fetch(cid).status_code == 200


def test_an_account_is_deleted_by_who_types_its_did(app, console, alice):
    alice.publish(jpeg("cat"))

    refused = console.post(f"/account/{alice.did}/delete", typed="alice.test")
    before = services_of(app).accounts.find(alice.did)
    done = console.post(f"/account/{alice.did}/delete", typed=alice.did)

    assert refused.status_code == 400
    assert before is not None
    assert done.status_code == 303
    assert services_of(app).accounts.find(alice.did) is None


@pytest.mark.parametrize("name", ["nobody.test", "did:web:nobody.test", "x" * 5000, "a%00b"])
def test_an_account_that_is_not_there_is_told(console, name):
    answer = console.client.get(f"/console/account/{name}")

    assert (answer.status_code, answer.mimetype) == (400, "text/html")


def test_the_records_of_a_collection_come_in_pages(console, alice):
    for number in range(25):
        alice.record({"number": number}, rkey=f"{number:03}")

    first = console.page(f"/account/{alice.did}?collection=com.example.file")
    [following] = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    second = console.page(following.removeprefix("/console"))

    assert [f"/{number:03}" in first.text + second.text for number in range(25)] == [True] * 25


def test_a_handle_and_a_did_are_text(app, console, alice):
    with services_of(app).database.write() as tx:
        tx.run("UPDATE account SET handle = ?", "<b>alice</b>")

    for path in ("", "/accounts", f"/account/{alice.did}"):
        assert "<b>alice" not in console.get(path).text


def test_sessions_are_shown_without_their_secrets(app, console, alice):
    with services_of(app).database.read() as tx:
        [(session_id, jti)] = tx.all("SELECT id, refresh_jti FROM session")

    page = console.get(f"/account/{alice.did}").text

    assert "Good until" in page
    assert session_id not in page
    assert jti not in page
