"""The gallery: which blobs it shows, in which order, and to whom it gives their bytes."""

import io

import pytest
from PIL import Image
from support.accounts import sign_up, take_down
from support.console import PASSWORD, Console
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.blobs.gallery import PAGE
from aurora_blobs.protocol.cid import parse_blob_cid

HOSTILE = ["text/html", 'image/"><script>alert(1)</script>', "image/svg+xml"]


def png(text):
    return b"\x89PNG\r\n\x1a\n" + text.encode()


def photo(width=40, height=30):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, 90, 40)).save(file, "PNG")
    return file.getvalue()


def cids(console, query=""):
    """The CIDs on the page, in its order."""
    rows = console.page(f"/gallery{query}").rows
    return [name for name in rows if name.startswith("bafkrei")]


def all_cids(console, query):
    """Those of all pages."""
    found, path = [], f"/gallery{query}"
    while path:
        page = console.page(path)
        found.append([name for name in page.rows if name.startswith("bafkrei")])
        nexts = [tag["href"] for name, tag in page.tags if tag.get("rel") == "next"]
        path = nexts[0].removeprefix("/console") if nexts else None
    return found


def cid(reference):
    return reference["ref"]["$link"]


def test_the_newest_come_first_on_every_page(console, alice, clock):
    made = []
    for number in range(2 * PAGE + 3):
        made.append(cid(alice.blob(jpeg(str(number)))))
        clock.advance(number % 2)

    pages = all_cids(console, "")

    assert sorted(pages[0] + pages[1] + pages[2]) == sorted(made)
    assert [len(page) for page in pages] == [PAGE, PAGE, 3]
    newest_second = set(made[-2:])
    assert newest_second & set(pages[0])
    assert set(made[:3]) & set(pages[2])


@pytest.mark.parametrize(
    "query",
    ["?type=image/png", "?account=bob12.test", "?min=1kB", "?state=temporary", "?from=2000-01-01"],
)
def test_pages_of_a_filter_miss_none_and_repeat_none(open_app, query, clock):
    app = open_app(ADMIN_PASSWORD="open sesame")
    console = Console(app.test_client())
    console.sign_in()
    bob = sign_up(app.test_client(), "bob12.test")
    made = [
        cid(bob.blob(png(str(number)) + bytes(1000), "image/png")) for number in range(PAGE + 7)
    ]

    pages = all_cids(console, query)

    assert [len(page) for page in pages] == [PAGE, 7]
    assert sorted(pages[0] + pages[1]) == sorted(made)


def test_each_filter_shows_what_fits_and_nothing_else(app, client, console):
    alice, bob = sign_up(client, "alice.test"), sign_up(client, "bob12.test")
    small = cid(alice.blob(jpeg("small")))
    large = alice.publish(png("large") + bytes(2000), "image/png").cid
    down = alice.publish(jpeg("down")).cid
    take_down(client, alice.did, down)
    film = cid(bob.blob(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"))
    lost = bob.publish(jpeg("lost")).cid
    with services_of(app).database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL WHERE cid = ?", lost)
    first, second = ("2026-01-01", "2026-01-02")
    with services_of(app).database.write() as tx:
        tx.run("UPDATE blob_metadata SET created_at = 1767268800000000 WHERE cid = ?", small)
        tx.run("UPDATE blob_metadata SET created_at = 1767355200000000 WHERE cid <> ?", small)

    found = {
        query: set(cids(console, query))
        for query in (
            *("", "?account=alice.test", "?account=did:web:bob12.test", "?type=video/"),
            *("?type=image/png", "?min=2kB", "?max=1999", "?state=temporary", "?state=public"),
            *("?state=missing", "?state=takendown", "?account=alice.test&state=missing"),
            *(f"?from={second}", f"?to={first}", f"?from={first}&to={first}", "?from=2026-01-03"),
        )
    }

    everything = {small, large, down, film, lost}
    assert found == {
        "": everything,
        "?account=alice.test": {small, large, down},
        "?account=did:web:bob12.test": {film, lost},
        "?type=video/": {film},
        "?type=image/png": {large},
        "?min=2kB": {large},
        "?max=1999": everything - {large},
        "?state=temporary": {small, film},
        "?state=public": {large},
        "?state=missing": {lost},
        "?state=takendown": {down},
        "?account=alice.test&state=missing": set(),
        f"?from={second}": everything - {small},
        f"?to={first}": {small},
        f"?from={first}&to={first}": {small},
        "?from=2026-01-03": set(),
    }


def test_a_blob_that_is_taken_down_twice_is_there_once(app, client, console, alice):
    down = alice.publish(jpeg("down")).cid
    take_down(client, alice.did, down)
    assert app.test_cli_runner().invoke(args=["blobs", "takedown", down]).exit_code == 0

    assert cids(console, "?state=takendown") == [down]


@pytest.mark.parametrize(
    "query, told",
    [
        ("?account=nobody.test", "There is no account nobody.test"),
        ("?state=lost", "accepted are public, temporary"),
        ("?min=a", "bytes as a plain number"),
        ("?from=yesterday", "accepted is a day"),
        ("?after=x", "begin with the first one"),
        (f"?account={'a' * 3000}", "2048 characters are accepted"),
        ("?type=%00", "U+0000"),
    ],
)
def test_a_filter_that_makes_no_sense_is_told(console, query, told):
    answer = console.client.get(f"/console/gallery{query}")

    assert answer.status_code == 400
    assert told in answer.text


@pytest.mark.parametrize(
    "publishes, commands",
    [
        (True, []),
        (False, []),
        (True, ["blobs takedown {cid} --did {did}"]),
        (True, ["account takedown {did}"]),
    ],
    ids=["public", "temporary", "taken down", "of an account taken down"],
)
def test_the_administrator_sees_the_picture_and_the_bytes_of_every_blob(
    app, console, alice, publishes, commands
):
    data = photo()
    blob = alice.blob(data, "image/png")
    found = cid(blob)
    for file in [blob] * publishes:
        alice.record({"file": file})
    for command in commands:
        words = command.format(cid=found, did=alice.did).split()
        assert app.test_cli_runner().invoke(args=words).exit_code == 0

    picture = console.get(f"/picture/{alice.did}/{found}")
    content = console.get(f"/content/{alice.did}/{found}")

    assert Image.open(io.BytesIO(picture.data)).size == (40, 30)
    assert content.data == data
    for answer in (picture, content):
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert content.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert content.headers["Content-Disposition"].startswith("attachment")


def test_a_part_of_a_film_is_given_to_who_asks_for_a_range(console, alice):
    film = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(range(256))
    found = cid(alice.blob(film, "video/mp4"))

    answer = console.client.get(
        f"/console/content/{alice.did}/{found}", headers={"Range": "bytes=4-7"}
    )

    assert (answer.status_code, answer.data) == (206, b"ftyp")
    assert answer.headers["Content-Range"] == f"bytes 4-7/{len(film)}"


def test_who_has_no_nginx_before_the_service_gets_the_bytes_too(open_app):
    app = open_app(ADMIN_PASSWORD=PASSWORD, ACCEL_REDIRECT="/_blobs/")
    console, alice, data = Console(app.test_client()), sign_up(app.test_client()), photo()
    found = cid(alice.blob(data, "image/png"))
    console.sign_in()

    answer = console.get(f"/content/{alice.did}/{found}")

    assert "X-Accel-Redirect" not in answer.headers
    assert answer.data == data


def test_nobody_else_gets_pictures_or_bytes(visitor, alice):
    found = cid(alice.blob(photo(), "image/png"))

    for path in ("picture", "content"):
        answer = visitor.client.get(f"/console/{path}/{alice.did}/{found}", headers=alice.headers)

        assert answer.status_code == 303


def test_a_picture_that_a_browser_has_is_not_sent_again(console, alice):
    found = cid(alice.blob(photo(), "image/png"))
    path = f"/console/picture/{alice.did}/{found}"
    tag = console.client.get(path).headers["ETag"]

    answer = console.client.get(path, headers={"If-None-Match": tag})

    assert (answer.status_code, answer.data) == (304, b"")


@pytest.mark.parametrize("place", ["did:web:alice.test/x", "x/y", "did:web:bob.test/CID"])
@pytest.mark.parametrize("what", ["picture", "content"])
def test_what_nobody_holds_is_told(console, alice, place, what):
    found = cid(alice.blob(photo(), "image/png"))

    answer = console.client.get(f"/console/{what}/{place.replace('CID', found)}")

    assert answer.status_code == 400
    assert answer.mimetype == "text/html"


@pytest.mark.parametrize("mime_type", HOSTILE)
def test_a_media_type_is_text_on_every_page(app, console, alice, mime_type):
    found = cid(alice.blob(jpeg("a")))
    with services_of(app).database.write() as tx:
        tx.run("UPDATE blob_metadata SET mime_type = ?", mime_type)

    pages = [console.get(path).text for path in ("/gallery", f"/blob/{parse_blob_cid(found)}")]

    assert [page for page in pages if "<script>alert" in page or "<html>alert" in page] == []
    content = console.get(f"/content/{alice.did}/{found}")
    assert content.headers["Content-Disposition"].startswith("attachment")


def test_pictures_are_blurred_until_somebody_wants_them(console, alice):
    alice.blob(photo(), "image/png")

    blurred, clear = console.page("/gallery"), console.page("/gallery?clear=1")

    assert ("ul", {"class": "tiles blurred"}) in blurred.tags
    assert ("ul", {"class": "tiles"}) in clear.tags
    assert [given for tag, given in blurred.tags if given.get("type") == "checkbox"] == [
        {"class": "show", "type": "checkbox", "id": "show-1"}
    ]


def test_a_filter_is_kept_on_the_next_page(console, alice):
    for number in range(PAGE + 1):
        alice.blob(jpeg(str(number)))

    page = console.page("/gallery?type=image/&clear=1&account=alice.test")

    [following] = [tag["href"] for _, tag in page.tags if tag.get("rel") == "next"]
    assert "type=image/" in following
    assert "clear=1" in following
    assert "account=alice.test" in following
