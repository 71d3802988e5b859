"""The console in Chromium, behind the shipped nginx."""

import io
import json
from urllib.parse import quote

import pytest
from PIL import Image, ImageDraw
from support.accounts import blob_path, take_down
from support.chromium import Chromium
from support.cids import cid_of
from support.corpus import corpus
from support.nginx import in_front, service_behind
from support.project import ROOT

pytestmark = pytest.mark.live

PASSWORD = "open sesame"
AXE = ROOT / ".cache" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
PAGE = 48
WIDTHS = (390, 1280)


def photo(number):
    picture = Image.new("RGB", (320, 200 + number), (number * 4 % 256, 120, 200 - number * 3))
    ImageDraw.Draw(picture).ellipse((60, 40, 200, 160), fill=(240, 200, number * 5 % 256))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def service(folder):
    with service_behind(
        folder,
        AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/",
        AURORA_BLOBS_ADMIN_PASSWORD=PASSWORD,
        AURORA_BLOBS_UNREFERENCED_GRACE="1h",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def nginx(folder, service):
    with in_front(service, folder / "nginx") as nginx:
        yield nginx


@pytest.fixture(scope="module")
def alice(service):
    """An account with a film, a blob that is taken down, and more pictures than a page has."""
    alice = service.account()
    for number in range(PAGE):
        alice.publish(photo(number))
    take_down(service, alice.did, alice.publish(photo(PAGE)).cid)
    alice.blob(photo(PAGE + 1))
    alice.publish(corpus("plain.mp4"), "video/mp4")
    return alice


@pytest.fixture
def browser(tmp_path, nginx, alice):
    with Chromium(tmp_path) as browser:
        browser.resize(1280)
        yield browser


@pytest.fixture
def origin(nginx):
    return f"http://127.0.0.1:{nginx.port}"


def sign_in(browser, origin, path="/console"):
    browser.open(f"{origin}{path}")
    browser.type(PASSWORD, enter=True)


def paths(alice):
    cid = alice.publish(photo(7)).cid
    return {
        "overview": "/console",
        "gallery": "/console/gallery?clear=1",
        "blurred": "/console/gallery",
        "blob": f"/console/blob/{cid}",
        "accounts": "/console/accounts",
        "account": f"/console/account/{quote(alice.did)}?collection=com.example.file",
        "moderation": "/console/moderation",
        "audit": "/console/audit",
        "jobs": "/console/jobs?gc",
        "nowhere": "/console/nowhere",
    }


def test_a_session_begins_with_the_right_password_and_ends_with_the_sign_out(browser, origin):
    browser.open(f"{origin}/console/gallery")
    browser.type("open barley", enter=True)
    wrong = browser.text()
    browser.type(PASSWORD, enter=True)
    inside = browser.evaluate("location.pathname")
    cookie = browser.evaluate("document.cookie")

    browser.click(".leave button")
    browser.open(f"{origin}/console")

    assert "This password is wrong" in wrong
    assert inside == "/console/gallery"
    assert cookie == ""
    assert browser.evaluate("location.pathname") == "/console/sign-in"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_gallery_has_pages_and_shows_pictures(browser, origin, scripts):
    browser.scripts(on=scripts)
    sign_in(browser, origin, "/console/gallery")

    first = browser.evaluate("document.querySelectorAll('.tile').length")
    is_blurred = "getComputedStyle(document.querySelector('.media img')).filter"
    before = browser.evaluate(is_blurred)
    browser.evaluate("document.querySelector('.media:has(img) .show').focus()")
    browser.press(" ", text=" ")
    after = browser.evaluate(is_blurred)
    loaded = browser.becomes("document.querySelector('.media img').naturalWidth == 320")
    browser.click("[rel=next]")
    second = browser.evaluate("document.querySelectorAll('.tile').length")

    assert (first, second >= 3) == (PAGE, True)
    assert (before, after) == ("blur(26px)", "none")
    assert loaded


def test_a_film_plays_from_where_it_is_wanted(browser, origin):
    sign_in(browser, origin, "/console/gallery?type=video/&clear=1")

    browser.evaluate("document.querySelector('video').play()")

    assert browser.becomes("document.querySelector('video').currentTime > 0.1")
    assert 206 in [status for url, status in browser.statuses if "/console/content/" in url]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_takedown_holds_at_the_next_get_blob_and_its_lifting_too(
    browser, nginx, origin, alice, scripts
):
    cid = alice.publish(photo(100 + scripts)).cid
    path = blob_path(alice.did, cid)
    assert nginx.get(path).status_code == 200
    assert nginx.get(path).status_code == 200  # by the link that the first has left
    browser.scripts(on=scripts)
    sign_in(browser, origin, f"/console/blob/{cid}")

    browser.evaluate("document.querySelector('#ref').focus()")
    browser.type("case 7")
    browser.click("button.danger")
    told, during = browser.text(), nginx.get(path)
    browser.click("td button")
    lifted, after = browser.text(), nginx.get(path)

    assert "The blob is taken down" in told
    assert "case 7" in told
    assert during.json["error"] == "BlobNotFound"
    assert "The takedown is lifted" in lifted
    assert after.status_code == 200


def test_no_page_asks_another_server_or_breaks_its_policy(browser, origin, alice):
    sign_in(browser, origin)
    for path in paths(alice).values():
        browser.open(f"{origin}{path}")
        browser.becomes("document.readyState == 'complete'")

    assert len(browser.asked) > 20
    # "data:" are the browser's own buttons, of a film.
    own = (f"{origin}/console", "data:")
    assert [url for url in browser.asked if not url.startswith(own)] == []
    assert [text for text in browser.complaints if "404" not in text] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_serious_faults_for_who_cannot_see_or_use_a_mouse(browser, origin, alice, dark):
    faults = []
    browser.open(f"{origin}/console/sign-in")
    faults += found_by_axe(browser)
    browser.type(PASSWORD, enter=True)
    for name, path in paths(alice).items():
        for width in WIDTHS:
            browser.resize(width, dark=dark)
            browser.open(f"{origin}{path}")
            faults += [(name, width, *fault) for fault in found_by_axe(browser)]

    assert faults == []


def found_by_axe(browser):
    """Rule and place of each fault, as axe-core finds them."""
    browser.evaluate(AXE.read_text() + ";0")
    found = browser.evaluate("axe.run().then(found => JSON.stringify(found.violations))")
    return [
        (fault["id"], node["html"][:200], node["failureSummary"])
        for fault in json.loads(found)
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window(browser, origin, alice, width):
    sign_in(browser, origin)
    browser.resize(width)
    wide = {}
    refused = {"nobody's blob": f"/console/blob/{cid_of(b'of nobody')}"}
    for name, path in (paths(alice) | refused).items():
        browser.open(f"{origin}{path}")
        wide[name] = browser.evaluate("document.documentElement.scrollWidth")

    assert wide == dict.fromkeys(wide, width)


@pytest.mark.parametrize("path", ["accounts", "moderation", "audit"])
def test_a_text_in_a_table_has_room_on_a_narrow_window(browser, origin, alice, path):
    sign_in(browser, origin)
    browser.resize(390)
    browser.open(f"{origin}{paths(alice)[path]}")

    narrowest = "Math.min(...[...document.querySelectorAll('.text')].map(cell => cell.offsetWidth))"

    assert browser.evaluate(narrowest) >= 130


@pytest.mark.parametrize("path", ["moderation", "audit"])
def test_the_fields_and_the_button_of_a_form_end_on_one_line(browser, origin, alice, path):
    sign_in(browser, origin)
    browser.resize(1280)
    browser.open(f"{origin}{paths(alice)[path]}")
    ends = (
        "[...document.querySelectorAll('.filters :is(input, select, button)')].map(part => {part})"
    )

    found = browser.evaluate(ends.replace("{part}", "part.getBoundingClientRect().bottom"))

    assert len(found) > 1
    assert max(found) - min(found) < 1
