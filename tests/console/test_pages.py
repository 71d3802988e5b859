"""What holds of every page of the console."""

import re
import subprocess
import sys
from importlib import resources

import pytest
from support.accounts import sign_up
from support.console import Console, Page
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs import console as pages_of_console

STATIC = ["/console/static/console.css", "/console/static/console.js", "/console/static/icon.svg"]


@pytest.fixture
def pages(app, console, alice):
    """The answers of all pages: their rules are filled in from what there is."""
    published = alice.publish(jpeg("cat"))
    alice.publish(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4")
    return {path: console.client.get(path) for path in paths(alice, published.cid)}


def paths(alice, cid):
    """A path for each page that is opened, and for errors."""
    account = f"/console/account/{alice.did}"
    return [
        *("/console", "/console/sign-in", "/console/nowhere"),
        *("/console/gallery", "/console/gallery?clear=1&type=image/", "/console/gallery?state=x"),
        *(f"/console/blob/{cid}", "/console/blob/none", "/console/accounts", account),
        *(f"{account}?collection=com.example.file", "/console/account/nobody.test"),
        *("/console/moderation", "/console/audit", "/console/audit?subject=x"),
        *("/console/jobs", "/console/jobs?gc"),
    ]


def test_every_answer_says_what_a_browser_may_do_with_it(pages):
    for path, answer in pages.items():
        policy = answer.headers["Content-Security-Policy"]

        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"


def test_no_page_has_a_script_or_style_in_it_or_asks_another_server(pages):
    for path, answer in pages.items():
        page = Page(answer.text)
        addresses = [*page.links, *page.sources]

        assert [place for place in addresses if re.match(r"[a-z]+:|//", place)] == [], path
        assert [tag for tag, given in page.tags if "style" in given or tag == "style"] == []
        assert [given for tag, given in page.tags if tag == "script" and "src" not in given] == []
        assert [name for _, given in page.tags for name in given if name.startswith("on")] == []


@pytest.mark.parametrize("path", STATIC)
def test_stylesheet_and_script_are_there_before_the_sign_in_and_kept(client, path):
    answer = client.get(path)
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})

    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.css", "..%2fframe.py", "%2e%2e/frame.py"])
def test_no_other_file_is_there(console, name):
    assert console.client.get(f"/console/static/{name}").status_code == 404


def test_no_template_marks_text_as_safe():
    folder = resources.files("aurora_blobs.console") / "templates"
    texts = [file.read_text() for file in folder.iterdir()]

    assert len(texts) > 3
    assert [text for text in texts if re.search(r"\|\s*safe|autoescape", text)] == []


def test_an_application_that_is_asked_for_no_page_has_not_imported_them(tmp_path):
    program = (
        "import sys\n"
        "from aurora_blobs.app import create_app\n"
        "from aurora_blobs.config import Config\n"
        "from pathlib import Path\n"
        f"app = create_app(Config(data_dir=Path({str(tmp_path)!r}), admin_password='x'))\n"
        "assert app.test_client().get('/xrpc/_health').status_code == 200\n"
        "assert 'aurora_blobs.console.frame' not in sys.modules\n"
        "assert app.test_client().get('/console/static/icon.svg').status_code == 200\n"
        "assert 'aurora_blobs.console.frame' in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_no_page_opens_and_no_order_is_obeyed_without_a_session(app, alice):
    visitor = app.test_client()
    given = {"cid": alice.publish(jpeg("cat")).cid, "did": alice.did, "name": alice.did}
    open_views = {"frame.sign_in", "frame.signed_in", "frame.static"}
    answers = {}
    for path, verbs, view in pages_of_console.PAGES:
        for name, value in {**given, "path:rest": "x"}.items():
            path = path.replace(f"<{name}>", value)
        answer = visitor.open(f"/console{path}", method=verbs[0])
        answers[view] = (answer.status_code, answer.headers.get("Location", "")[:21])

    assert {
        view for view, answer in answers.items() if answer != (303, "/console/sign-in?then")
    } == open_views
    assert alice.fetch(given["cid"]).status_code == 200


def test_a_read_only_console_shows_everything_and_changes_nothing(open_app):
    app = open_app(ADMIN_PASSWORD="open sesame", CONSOLE="read-only")
    console = Console(app.test_client())
    console.sign_in()

    alice = sign_up(app.test_client())
    cid = alice.publish(jpeg("cat")).cid
    orders = [
        path.replace("<cid>", cid).replace("<name>", alice.did)
        for path, verbs, view in pages_of_console.PAGES
        if verbs == ["POST"] and not view.startswith("frame.")
    ]
    shown = [f"/blob/{cid}", f"/account/{alice.did}", "/moderation", "/jobs", ""]

    answers = {path: console.post(path, typed=alice.did, did="").status_code for path in orders}

    assert answers == dict.fromkeys(orders, 403)
    assert len(orders) >= 10
    for path in shown:
        page = console.page(path)
        posts = [given["action"] for tag, given in page.tags if given.get("method") == "post"]
        assert posts == ["/console/sign-out"], path
        assert "read-only" in page.text
    assert alice.fetch(cid).status_code == 200
    assert services_of(app).accounts.find(alice.did).active
    assert console.post("/sign-out").status_code == 303
