import io
import os
import random
import threading
import time

import pytest
from PIL import Image
from support import image_bombs
from support.accounts import take_down
from support.live_service import Service, becomes
from support.process_watch import children, peak_bytes
from support.real_media import PHOTOS, media

pytestmark = pytest.mark.live

# Bytes, the peak of a worker, which does not decode pictures.
WORKER_MEMORY = 200 * 2**20
SLOW = "4,000 scans"  # the bomb that runs into the time limit


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    with Service(
        folder, AURORA_BLOBS_MAX_BLOB_SIZE="10MB", AURORA_BLOBS_ADMIN_PASSWORD="open sesame"
    ) as service:
        assert becomes(
            lambda: len(service.workers()) > 1
        )  # the first may answer before the second has started
        yield service


@pytest.fixture(scope="module")
def alice(server):
    return server.account()


@pytest.fixture
def unharmed(server):
    """After the test the same workers run, none has grown, and no file is left."""
    before = server.workers()
    yield
    assert server.get("/xrpc/_health").status_code == 200
    assert server.workers() == before
    assert max(map(peak_bytes, before)) < WORKER_MEMORY
    data = server.folder / "data"
    assert os.listdir(data / "spool") == []
    assert {path.suffix for path in (data / "images").glob("??/*")} <= {
        ".jpeg",
        ".png",
        ".webp",
        ".avif",
    }
    assert "Traceback" not in server.log


def helpers(server) -> list[int]:
    return [pid for worker in server.workers() for pid in children(worker)]


def picture(
    server, account, cid: str, preset: str = "feed_thumbnail", form: str = "@webp", **headers
):
    path = f"/img/{preset}/plain/{account.did}/{cid}{form}"
    return server.get(
        path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_a_real_photo_is_served_in_every_size(server, alice, unharmed):
    cid = alice.publish(media(PHOTOS["upside down"]).read_bytes(), "image/jpeg").cid

    sizes = {
        preset: Image.open(io.BytesIO(picture(server, alice, cid, preset).data)).size
        for preset in ("avatar", "avatar_thumbnail", "banner", "feed_thumbnail", "feed_fullsize")
    }

    assert sizes == {
        "avatar": (1000, 1000),
        "avatar_thumbnail": (128, 128),
        "banner": (3000, 1000),
        "feed_thumbnail": (2000, 1500),
        "feed_fullsize": (1000, 750),
    }


def test_a_hundred_requests_at_once_make_one_picture(server, alice, unharmed):
    cid = alice.publish(media(PHOTOS["12 MP with a location"]).read_bytes(), "image/jpeg").cid
    start = time.monotonic()
    picture(server, alice, cid, "avatar", "@avif")
    alone = time.monotonic() - start
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(picture(server, alice, cid, "feed_fullsize", "@avif"))
        )
        for _ in range(100)
    ]

    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.data for answer in answers}) == 1
    assert (
        time.monotonic() - start < 20 * alone
    )  # a hundred made two at a time would take fifty times as long


def test_a_takedown_reaches_a_cached_picture_at_once(server, alice, unharmed):
    cid = alice.publish(media(PHOTOS["from a messenger"]).read_bytes(), "image/jpeg").cid
    tag = picture(server, alice, cid).headers["ETag"]
    assert picture(server, alice, cid, If_None_Match=tag).status_code == 304

    take_down(server, alice.did, cid)

    assert picture(server, alice, cid).json["error"] == "BlobNotFound"
    assert picture(server, alice, cid, If_None_Match=tag).status_code == 400
    assert picture(server, alice, cid, "avatar").status_code == 400


@pytest.fixture(scope="module")
def all_bombs():
    return image_bombs.all_bombs()


@pytest.mark.parametrize("name", sorted(image_bombs.NAMES - {SLOW}))
def test_a_bomb_costs_its_own_request_alone(server, alice, all_bombs, unharmed, name):
    mime_type, data = all_bombs[name]
    photo = alice.publish(media(PHOTOS["grey"]).read_bytes(), "image/jpeg").cid
    cid = alice.publish(data, mime_type).cid

    start = time.monotonic()
    answer = picture(server, alice, cid)
    took = time.monotonic() - start
    again = picture(server, alice, cid)

    assert answer.status_code in (200, 422)
    assert answer.status_code == 200 or answer.json["error"] == "UnusableImage"
    assert took < 30
    assert (again.status_code, again.data) == (answer.status_code, answer.data)
    assert picture(server, alice, photo, "avatar_thumbnail").status_code == 200


def test_a_picture_that_takes_too_long_is_stopped(server, alice, all_bombs, unharmed):
    mime_type, data = all_bombs[SLOW]
    photo = alice.publish(media(PHOTOS["grey"]).read_bytes(), "image/jpeg").cid
    cid = alice.publish(data, mime_type).cid

    start = time.monotonic()
    answer = picture(server, alice, cid)

    assert time.monotonic() - start < 30
    assert picture(server, alice, photo, "avatar").status_code == 200
    assert (answer.status_code, answer.json["message"]) == (
        422,
        "the picture takes too much time or memory",
    )


FORMS = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}


def encoded(form: str) -> bytes:
    """A small animation or progressive photo, made from a real photo."""
    with Image.open(media(PHOTOS["from a messenger"])) as photo:
        photo.thumbnail((240, 240))
        output = io.BytesIO()
        still = {"progressive": True} if form == "JPEG" else {}
        moving = {
            "save_all": True,
            "append_images": [photo.rotate(90), photo.rotate(180)],
            "duration": 50,
        }
        photo.save(output, form, **(still if form in ("JPEG", "PNG") else moving))
    return output.getvalue()


def outcome(server, account, data: bytes, mime_type: str, form: str) -> int:
    answer = picture(
        server, account, account.publish(data, mime_type).cid, "avatar_thumbnail", form
    )
    assert answer.status_code in (200, 422), answer.data
    return answer.status_code


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_ends_anywhere_is_shown_or_refused(server, alice, unharmed, form):
    data = encoded(form)

    seen = {
        outcome(server, alice, data[: len(data) * part // 100], FORMS[form], "@webp")
        for part in range(5, 100, 5)
    }

    assert seen <= {200, 422}
    assert outcome(server, alice, data, FORMS[form], "@webp") == 200


def mutants(count: int):
    """Damaged files whose first bytes are intact: (media type, bytes, form)."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    originals = {form: encoded(form) for form in FORMS}
    for index in range(count):
        form = sorted(FORMS)[index % len(FORMS)]
        data = bytearray(originals[form])
        for _ in range(chance.choice((1, 3, 30))):
            at = chance.randrange(24, len(data))
            if chance.random() < 0.2:
                del data[at : at + chance.randrange(1, 50)]
            elif chance.random() < 0.3:
                data[at:at] = data[at : at + chance.randrange(1, 500)]
            else:
                data[at] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
            if len(data) < 100:
                break
        data += chance.randbytes(8)  # so that no two are equal
        yield FORMS[form], bytes(data), chance.choice(("@jpeg", "@png", "@webp", "@avif"))


def test_damaged_files_are_shown_or_refused(server, alice, unharmed):
    seen = [outcome(server, alice, data, mime_type, form) for mime_type, data, form in mutants(60)]

    assert {200, 422} == set(seen)


@pytest.mark.long
def test_two_thousand_damaged_files_are_shown_or_refused(server, alice, unharmed):
    seen = [
        outcome(server, alice, data, mime_type, form) for mime_type, data, form in mutants(2000)
    ]

    assert min(seen.count(200), seen.count(422)) > 100


def test_a_killed_helper_costs_no_worker(server, alice, unharmed):
    cid = alice.publish(media(PHOTOS["progressive"]).read_bytes(), "image/jpeg").cid
    picture(server, alice, cid, "avatar", "@png")
    for helper in helpers(server):
        os.kill(helper, 9)

    answers = [
        picture(server, alice, cid, "banner", f"@{form}").status_code
        for form in ("png", "jpeg", "webp", "avif")
    ]

    assert answers == [200] * 4


def test_no_helper_outlives_the_service(tmp_path):
    with Service(tmp_path) as service:
        account = service.account()
        cid = account.publish(media(PHOTOS["grey"]).read_bytes(), "image/jpeg").cid
        for form in ("png", "jpeg", "webp", "avif"):
            picture(service, account, cid, "avatar_thumbnail", f"@{form}")
        started = helpers(service)

    assert started
    assert becomes(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started))
