"""Links to kept thumbnails, from which nginx serves them: made when asked for, good for a while."""

import io
import os
import re
import threading
from glob import glob

import pytest
from PIL import Image
from support.accounts import sign_up, take_down
from support.live_service import becomes
from support.media_samples import picture
from support.open_files import open_files
from support.project import DEPLOY
from support.services import services_of

from aurora_blobs.blobs.public_links import PERIOD_SECONDS, PublicLinks
from aurora_blobs.thumbnails.presets import WRITABLE, presets

# On PostgreSQL no links are made: tests/db/test_postgresql.py.
pytestmark = pytest.mark.sqlite

SETTINGS = {"ADMIN_PASSWORD": "open sesame", "ACCEL_REDIRECT": "/_blobs/"}
CONFIGURATION = (DEPLOY / "nginx.conf").read_text()


@pytest.fixture
def open_again(open_app, tmp_path):
    """``open_again(NAME=value)`` is another process, with these settings, on the same data."""
    return lambda **more: open_app(**SETTINGS | {"DATA_DIR": str(tmp_path / "data")} | more)


@pytest.fixture
def app(open_again):
    return open_again()


def ask(member, cid, preset="avatar", form="@webp", times=2, **headers):
    """The last answer: the first makes the thumbnail, the second finds that it is kept."""
    path = f"/img/{preset}/plain/{member.did}/{cid}{form}"
    for _ in range(times):
        answer = member.client.get(path, headers=headers, buffered=True)
    return answer


def links(member):
    """The links to thumbnails, by their names below ``pictures``, and what each leads to."""
    folder = member.services.config.data_dir / "public" / "pictures"
    # Not Path.glob, which fails when a past period goes meanwhile.
    return {name: folder / name for name in glob("*/did:*/*/*", root_dir=folder)}


def period(clock):
    return clock() // 1_000_000 // PERIOD_SECONDS


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("preset", ["avatar", "avatar_thumbnail", "feed_fullsize"])
def test_a_kept_thumbnail_gets_a_link_when_it_is_asked_for(alice, clock, preset, form):
    cid = alice.publish(picture("JPEG")).cid

    made = ask(alice, cid, preset, f"@{form}", times=1)
    assert links(alice) == {}
    found = ask(alice, cid, preset, f"@{form}", times=1)

    size = str(presets([])[preset])
    ((name, link),) = links(alice).items()
    assert name == f"{period(clock)}/{alice.did}/{cid}/{preset}.{size}.{form}"
    assert link.read_bytes() == found.data == made.data
    assert found.headers["ETag"] == f'W/"{cid}.{size}.{form}"'


def test_a_thumbnail_that_not_everybody_may_see_gets_no_link(alice):
    cid = alice.blob(picture("JPEG"))["ref"]["$link"]

    assert ask(alice, cid, **alice.headers).status_code == 200
    assert ask(alice, cid).status_code == 400

    assert links(alice) == {}


def test_what_nginx_does_not_find_by_its_address_gets_no_link(alice):
    cid = alice.publish(picture("JPEG")).cid

    assert ask(alice, cid, form="").status_code == 200

    assert links(alice) == {}


def test_a_thumbnail_that_is_not_kept_gets_no_link(open_again):
    alice = sign_up(open_again(IMAGE_CACHE_SIZE="0").test_client())

    assert ask(alice, alice.publish(picture("JPEG")).cid).status_code == 200

    assert links(alice) == {}


def test_without_nginx_no_thumbnail_gets_a_link(open_app):
    alice = sign_up(open_app().test_client())

    assert ask(alice, alice.publish(picture("JPEG")).cid).status_code == 200

    assert not (alice.services.config.data_dir / "public").exists()


def test_accounts_that_share_a_blob_have_links_of_their_own(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")
    cid = alice.publish(picture("JPEG")).cid
    bob.publish(picture("JPEG"))
    for member in (alice, bob):
        ask(member, cid)
    assert len(links(alice)) == 2

    take_down(alice.client, alice.did, cid)

    assert [name.split("/")[1] for name in links(alice)] == [bob.did]
    assert (ask(alice, cid).status_code, ask(bob, cid).status_code) == (400, 200)


def test_a_thumbnail_that_is_shown_again_gets_a_link_when_it_is_asked_for(app, alice):
    cid = alice.publish(picture("JPEG")).cid
    ask(alice, cid)
    take_down(alice.client, alice.did, cid)
    assert links(alice) == {}

    words = ["blobs", "takedown", cid, "--did", alice.did, "--lift"]
    assert app.test_cli_runner().invoke(args=words).exit_code == 0
    assert links(alice) == {}
    ask(alice, cid, times=1)

    assert len(links(alice)) == 1


def test_links_of_an_earlier_period_are_removed(alice, clock):
    one, other = alice.publish(picture("JPEG")).cid, alice.publish(picture("PNG"), "image/png").cid
    for cid in (one, other):
        ask(alice, cid)
    clock.advance(PERIOD_SECONDS)

    ask(alice, one)

    assert becomes(lambda: [name.split("/")[2] for name in links(alice)] == [one])
    assert [name.split("/")[0] for name in links(alice)] == [str(period(clock))]


def test_a_hidden_thumbnail_has_no_link_in_any_period_so_that_the_clock_may_be_set_back(
    tmp_path,
):
    opened = PublicLinks(tmp_path / "public", durable=True)
    for now in (5_000_000_000, 0, 99_000_000_000):
        link = tmp_path / f"public/pictures/{now // 10**9}/did:web:a/cid/x.webp"
        link.parent.mkdir(parents=True)
        link.symlink_to("x")
    assert len([*tmp_path.rglob("*.webp")]) == 3

    with opened.revoked([("did:web:a", "cid")]):
        assert [path for path in tmp_path.rglob("*.webp") if ".gone" not in path.parts] == []


@pytest.mark.parametrize("damage", [b"", b"another"], ids=["empty", "other bytes"])
def test_a_changed_file_that_has_a_link_is_made_again_in_the_next_period(alice, clock, damage):
    cid = alice.publish(picture("JPEG")).cid
    whole = ask(alice, cid).data
    (link,) = links(alice).values()
    os.truncate(link, 0)
    link.write_bytes(damage)
    clock.advance(PERIOD_SECONDS)

    assert ask(alice, cid).data == whole

    assert {link.read_bytes() for link in links(alice).values()} == {whole}


def test_what_nginx_serves_all_the_time_is_forgotten_last(open_again, clock):
    """It asks once in a period. There is room for three."""
    alice = sign_up(open_again(IMAGE_CACHE_SIZE="200").test_client())
    cids = [alice.publish(square(shade), "image/png").cid for shade in range(6)]
    folder = alice.services.config.data_folder.thumbnails
    ask(alice, cids[0])
    for number, cid in enumerate(cids[1:], start=1):
        ask(alice, cid)
        kept = {path.name.partition(".")[0] for path in folder.glob("??/*")}
        assert kept == {cids[0], *cids[1 : number + 1][-2:]}
        clock.advance(PERIOD_SECONDS)
        ask(alice, cids[0], times=1)


def square(shade):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (shade * 40, 99, 7)).save(file, "PNG")
    return file.getvalue()


def test_a_process_makes_as_many_links_in_a_period_as_may_be(tmp_path):
    opened = PublicLinks(tmp_path / "public", durable=True, most_pictures=3)

    def add(number, now):
        cid = f"cid{number}"
        opened.add_picture("did:web:a", cid, "x.webp", "../images/x", lambda: True, now=now)

    def linked():
        found = glob("**/*.webp", root_dir=tmp_path, recursive=True, include_hidden=True)
        return [os.path.basename(os.path.dirname(name)) for name in found]

    for number in range(5):
        add(number, 0)
        add(number, 0)
    assert len(linked()) == 3

    add(9, 10**6 * PERIOD_SECONDS)
    assert becomes(lambda: linked() == ["cid9"])


@pytest.mark.parametrize(
    "settings",
    [SETTINGS | {"IMAGE_PRESETS": "avatar=cover:64x64"}, {}],
    ids=["another size", "no nginx"],
)
def test_links_that_other_settings_have_made_are_gone_after_a_start(
    open_app, tmp_path, alice, settings
):
    cid = alice.publish(picture("JPEG")).cid
    ask(alice, cid)
    assert len(links(alice)) == 1

    later = alice.at(open_app(DATA_DIR=str(tmp_path / "data"), **settings).test_client())
    assert links(alice) == {}
    ask(alice, cid)  # a process from before, which has not ended yet
    assert links(alice) == {}
    assert ask(later, cid).status_code == 200


def test_links_outlive_a_start_with_the_same_settings_and_a_command(open_again, alice):
    cid = alice.publish(picture("JPEG")).cid
    ask(alice, cid)
    before = links(alice)

    assert open_again().test_cli_runner().invoke(args=["blobs", "gc"]).exit_code == 0

    assert links(alice) == before != {}


def test_links_come_again_when_the_folder_was_deleted(alice):
    cid = alice.publish(picture("JPEG")).cid
    ask(alice, cid)
    services_of(alice.client.application).public_links.clear()
    assert links(alice) == {}

    ask(alice, cid)

    assert len(links(alice)) == 1


def test_a_thumbnail_that_is_hidden_while_it_is_sent_gets_no_link(alice, monkeypatch):
    cid = alice.publish(picture("JPEG")).cid
    ask(alice, cid, times=1)
    thumbnails = alice.services.thumbnails
    opened = thumbnails.open

    def open_slowly(*given):
        thumbnail = opened(*given)
        moderator = alice.client.application.test_client()
        hiding = threading.Thread(target=take_down, args=(moderator, alice.did, cid))
        hiding.start()
        hiding.join()
        return thumbnail

    monkeypatch.setattr(thumbnails, "open", open_slowly)

    assert ask(alice, cid, times=1).status_code == 400
    assert links(alice) == {}
    assert open_files(alice.services.config.data_folder.thumbnails) == []


def test_nginx_knows_the_size_of_each_preset():
    (sizes,) = re.findall(r"map \$aurora_picture_preset .*? \{(.*?)\}", CONFIGURATION, re.DOTALL)

    assert dict(re.findall(r"(\w+) +([\w-]+);", sizes)) == {
        name: str(preset) for name, preset in presets([]).items()
    }


def test_nginx_knows_the_type_of_each_format():
    _, location = CONFIGURATION.split("location /img/")
    types = re.findall(r"^ +(image/\w+) +(\w+);$", location, re.MULTILINE)

    assert {form: mime_type for mime_type, form in types} == WRITABLE
