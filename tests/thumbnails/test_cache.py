import fcntl
import io
import json
import os
import sys
import threading
import zlib
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from PIL import Image
from support import image_bombs, media
from support.accounts import sign_up
from support.open_files import open_files
from support.services import services_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.app import create_app
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.catalog import accounts, blobs, derivatives, takedowns
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.config import Config
from aurora_blobs.db import SCHEMA, SqliteDatabase
from aurora_blobs.errors import (
    InsufficientStorage,
    ServiceBusy,
    ThumbnailTimeout,
    UnusableImage,
)
from aurora_blobs.maintenance.backfill import backfill
from aurora_blobs.protocol.cid import place_of, shard_of
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.thumbnails.cache import ThumbnailCache
from aurora_blobs.thumbnails.presets import WRITABLE, presets

THUMBNAIL = presets([])["avatar_thumbnail"]


def photo(width: int = 640, height: int = 480, form: str = "JPEG", colour=(200, 30, 30)) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(output, form)
    return output.getvalue()


class Service:
    """An application with one account and its client."""

    def __init__(self, config, clock):
        self.app = create_app(config, clock=clock)
        self.clock = clock
        self.inside = services_of(self.app)
        self.client = self.app.test_client()
        self.alice = sign_up(self.client)
        self.did, self.owner = self.alice.did, self.alice.headers

    def upload(self, data: bytes, mime_type: str = "image/jpeg", *, public: bool = True):
        if public:
            return self.alice.publish(data, mime_type).cid
        return self.alice.blob(data, mime_type)["ref"]["$link"]

    def get(self, cid: str, preset: str = "avatar_thumbnail", form: str = "@jpeg", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(
            f"/img/{preset}/plain/{self.did}/{cid}{form}", headers=named, buffered=True
        )

    def entry(self, cid: str) -> Entry:
        return self.inside.blobs.describe(self.did, cid)


@pytest.fixture
def serve(tmp_path, clock):
    services = []

    def serve(**settings) -> Service:
        service = Service(Config(data_dir=tmp_path, durability="os", **settings), clock)
        services.append(service)
        return service

    yield serve
    for service in services:
        service.inside.thumbnails.close()
        service.inside.database.close()
    assert open_files(tmp_path) == []
    assert os.listdir(tmp_path / "spool") == []


@pytest.fixture
def service(serve):
    return serve(admin_password="secret-of-the-admin")


def cached(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "images").glob("??/*"))


def test_a_picture_is_served_smaller(service):
    response = service.get(service.upload(photo()))

    assert (response.status_code, response.mimetype) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(response.data)).size == (128, 128)
    assert int(response.headers["Content-Length"]) == len(response.data)
    assert response.headers["Cache-Control"] == "public, max-age=300, must-revalidate"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers.getlist("Vary") == ["Authorization"]


def test_head_has_the_headers_of_get(service):
    cid = service.upload(photo())
    got = service.get(cid)

    head = service.client.head(got.request.path, buffered=True)

    assert head.status_code == 200 and head.data == b""
    assert head.headers.pop("X-Request-Id") != got.headers.pop("X-Request-Id")
    assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


@pytest.mark.parametrize(
    "accept, stored, sent",
    [
        (None, "JPEG", "image/jpeg"),
        (None, "PNG", "image/png"),
        ("*/*", "JPEG", "image/jpeg"),
        ("image/*", "PNG", "image/png"),
        ("image/webp,*/*", "JPEG", "image/webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "JPEG", "image/webp"),
        ("image/avif,*/*;q=0.8", "JPEG", "image/avif"),
        ("image/webp;q=0.5,image/avif;q=0.9", "PNG", "image/avif"),
        ("image/webp;q=0,*/*", "PNG", "image/png"),
        ("image/jpeg,image/webp;q=0.5", "JPEG", "image/jpeg"),
        ("image/webp;q=0.2,image/*", "JPEG", "image/jpeg"),
        ("image/png", "JPEG", "image/png"),
        ("image/png,image/*;q=0.8", "JPEG", "image/jpeg"),
        ("image/jpeg", "PNG", "image/jpeg"),
        ("IMAGE/WEBP", "JPEG", "image/webp"),
        ("text/html", "PNG", "image/png"),
        ("nonsense", "JPEG", "image/jpeg"),
    ],
)
def test_without_a_format_the_client_is_asked(service, accept, stored, sent):
    cid = service.upload(photo(form=stored), f"image/{stored.lower()}")

    response = service.get(cid, form="", **({} if accept is None else {"Accept": accept}))

    assert (response.status_code, response.mimetype) == (200, sent)
    assert sorted(response.headers.getlist("Vary")) == ["Accept", "Authorization"]
    assert Image.open(io.BytesIO(response.data)).get_format_mimetype() == sent


def test_a_picture_the_client_has_is_not_sent_again(service):
    cid = service.upload(photo())
    tag = service.get(cid).headers["ETag"]

    again = service.get(cid, If_None_Match=tag)

    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == "public, max-age=300, must-revalidate"
    assert service.get(cid, "avatar", If_None_Match=tag).status_code == 200
    assert service.get(cid, form="@webp", If_None_Match=tag).status_code == 200


def test_an_operators_preset_is_served(serve):
    service = serve(image_presets=("card=inside:320x90",))

    response = service.get(service.upload(photo()), "card")

    assert Image.open(io.BytesIO(response.data)).size == (120, 90)


BAD = {
    "preset": ("/img/huge/plain/{did}/{cid}@jpeg", "InvalidRequest"),
    "format": ("/img/avatar/plain/{did}/{cid}@gif", "InvalidRequest"),
    "no format after the sign": ("/img/avatar/plain/{did}/{cid}@", "InvalidRequest"),
    "did": ("/img/avatar/plain/alice.test/{cid}@jpeg", "InvalidRequest"),
    "cid": ("/img/avatar/plain/{did}/../{cid}", "InvalidRequest"),
    "account": ("/img/avatar/plain/did:web:bob.test/{cid}@jpeg", "RepoNotFound"),
    "blob": (
        "/img/avatar/plain/{did}/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku@jpeg",
        "BlobNotFound",
    ),
}


@pytest.mark.parametrize("path, error", BAD.values(), ids=BAD)
def test_a_path_to_no_picture_is_refused(service, path, error):
    response = service.client.get(path.format(did=service.did, cid=service.upload(photo())))

    assert (response.status_code, response.json["error"]) in [(400, error), (404, "NotFound")]


def test_a_blob_that_is_no_picture_is_refused(serve):
    service = serve(allowed_mime_types=("*/*",))

    response = service.get(service.upload(b"hello", "text/plain"))

    assert (response.status_code, response.json["error"]) == (400, "InvalidRequest")


def test_without_pillow_the_answer_says_so(service, monkeypatch):
    cid = service.upload(photo())
    monkeypatch.setitem(sys.modules, "PIL", None)

    response = service.get(cid)

    assert (response.status_code, response.json["error"]) == (501, "MethodNotImplemented")
    assert "the extra images" in response.json["message"]


def test_a_temporary_blob_is_its_owners_alone(service):
    cid = service.upload(photo(), public=False)

    assert service.get(cid).json["error"] == "BlobNotFound"
    own = service.get(cid, **service.owner)
    assert own.status_code == 200
    assert own.headers["Cache-Control"] == "private"


def test_a_takedown_holds_at_once_and_until_it_is_lifted(service):
    cid = service.upload(photo())
    tag = service.get(cid).headers["ETag"]
    subject = Subject(service.did, cid)

    service.inside.moderation.take_down(subject, None)
    refused = [
        service.get(cid),
        service.get(cid, If_None_Match=tag),
        service.get(cid, form="@webp"),
    ]
    service.inside.moderation.lift(subject)

    assert [(response.status_code, response.json["error"]) for response in refused] == [
        (400, "BlobNotFound")
    ] * 3
    assert service.get(cid).status_code == 200


def test_a_picture_is_made_once(service, tmp_path):
    cid = service.upload(photo())
    first = service.get(cid)
    service.inside.blobs.backend.delete(cid)

    assert service.get(cid).data == first.data
    assert cached(tmp_path) == [f"{cid}.cover-128x128.jpeg"]


def test_a_failure_is_remembered_for_an_hour(service, clock):
    cid = service.upload(photo()[:-200])
    first = service.get(cid)
    service.inside.blobs.backend.delete(cid)

    again = service.get(cid)
    clock.advance(3601)
    later = service.get(cid)

    assert (first.status_code, first.json["error"]) == (422, "UnusableImage")
    assert (again.status_code, again.json) == (422, first.json)
    assert later.json["error"] == "BlobNotFound"  # it was tried again


def test_a_picture_that_cannot_be_made_is_tried_once_for_all_presets_and_forms(service, clock):
    cid = service.upload(photo()[:-200])
    first = service.get(cid, "banner", "@webp")
    service.inside.blobs.backend.delete(cid)  # another try would find that

    others = [service.get(cid, preset, f"@{form}") for preset in presets([]) for form in WRITABLE]
    clock.advance(3601)
    later = service.get(cid)

    assert (first.status_code, first.json["error"]) == (422, "UnusableImage")
    assert [(each.status_code, each.json) for each in others] == [(422, first.json)] * 20
    assert later.json["error"] == "BlobNotFound"


def test_a_picture_that_was_made_is_served_whatever_failed_since(service):
    cid = service.upload(photo())
    kept = service.get(cid)
    with service.inside.thumbnails.rows.write() as tx:
        derivatives.put(tx, place_of(cid), cid, 0, "the picture is damaged", service.clock())

    assert service.get(cid).data == kept.data
    assert service.get(cid, "banner").status_code == 422


def test_a_failure_that_a_clock_noted_that_was_ahead_is_tried_again(service, clock):
    cid = service.upload(photo())
    clock.advance(10 * 365 * 86_400)
    with service.inside.thumbnails.rows.write() as tx:
        derivatives.put(tx, place_of(cid), cid, 0, "the picture is damaged", clock())
    clock.advance(-10 * 365 * 86_400)

    assert service.get(cid).status_code == 200


DAMAGES = {
    "cut short": lambda kept: kept[:100],
    "zeros": lambda kept: bytes(len(kept)),
    "a bit": lambda kept: kept[:300] + bytes([kept[300] ^ 1]) + kept[301:],
    "the first bit": lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
    "longer": lambda kept: kept + b"\0",
    "nothing": lambda kept: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_changed_file_is_made_again(service, tmp_path, damage):
    cid = service.upload(photo())
    whole = service.get(cid).data
    (path,) = (tmp_path / "images").glob("??/*.jpeg")
    kept = path.read_bytes()
    path.write_bytes(damage(kept))

    assert service.get(cid).data == whole
    assert path.read_bytes() == kept


def test_a_picture_of_0_1_0_is_kept_and_not_made_again(service, tmp_path):
    cid = service.upload(photo())
    whole = service.get(cid).data
    (path,) = (tmp_path / "images").glob("??/*.jpeg")
    name = f"{path.parent.name}/{path.name}"
    # As it would not be made: what is kept is served.
    content = whole + b"as 0.1.0 made it"
    path.write_bytes(zlib.crc32(content, zlib.crc32(name.encode())).to_bytes(4) + content)
    with service.inside.thumbnails.rows.write() as tx:
        tx.run("UPDATE derivative SET size = ?, checksum = NULL", 4 + len(content))
        derivatives.recount(tx)

    assert [service.get(cid).data for _ in range(2)] == [content] * 2

    assert path.read_bytes() == content
    with service.inside.thumbnails.rows.read() as tx:
        assert derivatives.total_bytes(tx) == len(content)


def test_a_file_under_anothers_name_is_made_again(service, tmp_path):
    one, other = (service.upload(photo(colour=(level, 0, 0))) for level in (40, 90))
    whole = service.get(one).data
    assert len(service.get(other).data) == len(whole)
    first, second = ((tmp_path / "images").glob(f"??/{cid}.*") for cid in (one, other))
    next(first).write_bytes(next(second).read_bytes())

    assert service.get(one).data == whole


WRONG = {
    "another picture": lambda right: photo(320, 240, colour=(0, 0, 250)).ljust(len(right), b"\0"),
    "no picture": lambda right: bytes(len(right)),
    "half": lambda right: right[: len(right) // 2],
    "nothing": lambda right: b"",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_nothing_is_made_of_wrong_bytes_and_their_healing_is_seen_at_once(service, tmp_path, wrong):
    cid = service.upload(photo())
    (path,) = (tmp_path / "blobs").glob(f"??/{cid}")
    path.write_bytes(wrong(photo()))

    refused = service.get(cid, form="@png")
    service.upload(photo())

    assert (refused.status_code, refused.json["error"]) == (400, "BlobNotFound")
    healed = service.get(cid, form="@png")
    assert healed.status_code == 200
    assert Image.open(io.BytesIO(healed.data)).getpixel((64, 64)) == Image.open(
        io.BytesIO(photo())
    ).getpixel((64, 64))


def test_the_cache_can_be_deleted(service, tmp_path):
    cid = service.upload(photo())
    whole = service.get(cid).data
    for path in (tmp_path / "images").glob("*/*"):
        path.unlink()
    for path in (tmp_path / "images").iterdir():
        path.rmdir()

    assert service.get(cid).data == whole


def test_without_room_nothing_is_kept(serve, tmp_path):
    service = serve(image_cache_size=0)

    response = service.get(service.upload(photo()))

    assert response.status_code == 200
    assert cached(tmp_path) == []


def test_the_cache_stays_within_its_size_and_forgets_the_least_used(serve, tmp_path, clock):
    service = serve(image_cache_size=20_000)
    noise = [Image.effect_noise((200, 200), 90 + index) for index in range(12)]
    cids = []
    for image in noise:
        output = io.BytesIO()
        image.save(output, "PNG")
        cids.append(service.upload(output.getvalue(), "image/png"))
        service.get(cids[-1])
        clock.advance(601)
        service.get(cids[0])  # is used all the time
        assert (
            sum(path.stat().st_size for path in (tmp_path / "images").glob("??/*.jpeg")) <= 20_000
        )

    kept = {name.partition(".")[0] for name in cached(tmp_path)}
    assert cids[0] in kept and cids[-1] in kept and cids[1] not in kept
    with service.inside.thumbnails.rows.read() as tx:
        assert {row[0] for row in tx.all("SELECT cid FROM derivative")} == kept
        assert derivatives.total_bytes(tx) == bytes_in(tmp_path / "images")


def test_pictures_of_blobs_that_are_gone_are_swept_out(service, tmp_path):
    gone, down, kept = (service.upload(photo(colour=(level, 0, 0))) for level in (10, 90, 170))
    for cid in (gone, down, kept):
        service.get(cid)
    service.inside.moderation.take_down(Subject("", down), None)
    with service.inside.database.write() as tx:
        tx.run("DELETE FROM record_blob WHERE cid = ?", gone)
        tx.run("DELETE FROM blob_metadata WHERE cid = ?", gone)
        tx.run("DELETE FROM blob WHERE cid = ?", gone)

    assert service.inside.thumbnails.sweep() == 2
    assert cached(tmp_path) == [f"{kept}.cover-128x128.jpeg"]
    with service.inside.thumbnails.rows.read() as tx:
        assert derivatives.total_bytes(tx) == bytes_in(tmp_path / "images")


def test_a_sweep_finds_what_the_database_does_not_know(service, tmp_path):
    lost, kept = (service.upload(photo(colour=(level, 0, 0))) for level in (10, 90))
    for cid in (lost, kept):
        service.get(cid)
    with service.inside.thumbnails.rows.write() as tx:
        tx.run("DELETE FROM derivative WHERE cid = ?", lost)
    (path,) = (tmp_path / "images").glob(f"??/{kept}.*")
    path.with_name(f"{path.name}~").write_bytes(b"half of one, when its process died")

    service.inside.thumbnails.sweep()

    assert cached(tmp_path) == [f"{kept}.cover-128x128.jpeg"]
    with service.inside.thumbnails.rows.read() as tx:
        assert derivatives.total_bytes(tx) == bytes_in(tmp_path / "images")


def test_derived_pictures_are_removed_with_a_collected_blob(service, tmp_path, clock):
    cid = service.upload(photo(), public=False)
    service.get(cid, **service.owner)
    assert cached(tmp_path) == [f"{cid}.cover-128x128.jpeg"]
    clock.advance(2 * 86_400)

    result = service.app.test_cli_runner().invoke(args=["blobs", "gc"])

    assert result.exit_code == 0, result.output
    assert cached(tmp_path) == []


class CountingBackend(DiskBackend):
    def __init__(self, root):
        super().__init__(root, durable=False)
        self.opened = 0

    def open(self, cid, start=0, stop=None):
        self.opened += 1
        return super().open(cid, start, stop)


class Caches:
    """Caches on one folder, each with its own locks, like processes."""

    def __init__(self, folder, database, clock):
        self.backend = CountingBackend(folder / "blobs")
        self._folder, self._database, self._clock = folder, database, clock
        self._blobs = BlobManager(
            self.backend, database, spool=folder / "spool", rules=UploadRules(), clock=clock
        )
        self.made = []

    def upload(self, data: bytes) -> Entry:
        return self._blobs.upload(Incoming(stream=io.BytesIO(data), did="did:web:a.test"))

    def make(self, database=None, max_bytes: int = 2**30, **options) -> ThumbnailCache:
        database = database or self._database
        folder = self._folder / "images"
        self.made.append(
            ThumbnailCache(
                self._blobs,
                database,
                folder=folder,
                presets={},
                max_bytes=max_bytes,
                clock=self._clock,
                **options,
            )
        )
        return self.made[-1]

    def on_node(self, name: str) -> ThumbnailCache:
        """One on a machine of its own."""
        folder = self._folder / name
        rows = SqliteDatabase(folder / "images.sqlite3", durable=False)
        rows.upgrade(SCHEMA.read_text())
        self.made.append(
            ThumbnailCache(
                self._blobs,
                self._database,
                folder=folder / "images",
                presets={},
                max_bytes=2**30,
                clock=self._clock,
                rows=rows,
            )
        )
        return self.made[-1]


@pytest.fixture
def caches(tmp_path, database, clock):
    with database.write() as tx:
        accounts.create(
            tx, "did:web:a.test", handle="a.test", email=None, password_hash="", now=clock()
        )
    caches = Caches(tmp_path, database, clock)
    yield caches
    for cache in caches.made:
        cache.close()


def taken(thumbnail) -> bytes:
    with thumbnail.file as file:
        return file.read()


def test_a_node_does_not_take_the_pictures_of_another_for_its_own(caches, tmp_path, database):
    entry = caches.upload(photo())
    one, two = caches.on_node("one"), caches.on_node("two")

    contents = []
    for node in (one, two, one):
        contents.append(taken(node.open(entry, THUMBNAIL, "jpeg")))
    with database.write() as tx:
        takedowns.apply(tx, entry.cid, "", "ref", 0)

    assert contents == contents[:1] * 3
    assert caches.backend.opened == 2
    assert one.sweep() == 1
    assert list(tmp_path.glob("one/images/??/*")) == []
    assert len(list(tmp_path.glob("two/images/??/*"))) == 1
    assert two.sweep() == 1


def test_concurrent_requests_make_a_picture_once(caches):
    entry = caches.upload(photo(3000, 2000))
    four = [caches.make() for _ in range(4)]
    made = []
    threads = [
        threading.Thread(
            target=lambda cache=cache: made.append(taken(cache.open(entry, THUMBNAIL, "webp")))
        )
        for cache in four * 10
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(made) == 40 and len(set(made)) == 1
    assert caches.backend.opened == 1


def test_concurrent_requests_for_a_bomb_decode_it_once(caches):
    entry = caches.upload(photo()[:-200])
    cache = caches.make()
    refused = []

    def ask(preset, form):
        try:
            cache.open(entry, preset, form)
        except UnusableImage as error:
            refused.append(error.message)

    threads = [
        threading.Thread(target=ask, args=(preset, form))
        for preset in presets([]).values()
        for form in WRITABLE
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert refused == ["the picture is damaged"] * 20
    assert caches.backend.opened == 1


def test_a_picture_that_the_clock_ended_is_tried_again_after_a_minute(caches, clock):
    entry = caches.upload(image_bombs.scan_flood(7000, 4000))
    cache = caches.make(wall_seconds=0.2)
    opened = []

    for seconds in (0, 59, 2):
        clock.advance(seconds)
        with pytest.raises(ThumbnailTimeout):
            cache.open(entry, THUMBNAIL, "webp")
        opened.append(caches.backend.opened)

    assert opened == [1, 1, 2]


def noise(level: int) -> bytes:
    output = io.BytesIO()
    Image.effect_noise((200, 200), level).save(output, "PNG")
    return output.getvalue()


def bytes_in(folder) -> int:
    """The bytes of all files in *folder*."""
    sizes = 0
    for path in folder.glob("??/*"):
        with suppress(FileNotFoundError):
            sizes += path.stat().st_size
    return sizes


def test_many_that_make_pictures_at_once_never_keep_more_than_there_is_room_for(
    caches, tmp_path, database
):
    entries = [caches.upload(noise(level)) for level in range(60, 90)]
    room = 5 * len(taken(caches.make(max_bytes=0).open(entries[0], THUMBNAIL, "webp")))
    four = [caches.make(max_bytes=room) for _ in range(4)]
    threads = [
        threading.Thread(
            target=lambda part=part: [
                taken(four[part].open(x, THUMBNAIL, "webp")) for x in entries[part::4]
            ]
        )
        for part in range(4)
    ]
    most = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # While no row changes, or a removed file would be counted with its successor.
        with database.write():
            most.append(bytes_in(tmp_path / "images"))

    assert 0 < max(most) <= room
    assert bytes_in(tmp_path / "images") > room / 2
    with database.read() as tx:
        assert derivatives.total_bytes(tx) == bytes_in(tmp_path / "images")


def test_a_picture_larger_than_the_cache_throws_nothing_out(caches, tmp_path):
    entry, large = caches.upload(photo()), caches.upload(noise(100))
    cache = caches.make(max_bytes=1000)
    taken(cache.open(entry, THUMBNAIL, "webp"))

    assert taken(cache.open(large, THUMBNAIL, "png"))
    assert cached(tmp_path) == [f"{entry.cid}.cover-128x128.webp"]


class FullDatabase:
    """*database*, which cannot grow."""

    def __init__(self, database):
        self.one_shot, self.read = database.one_shot, database.read

    @contextmanager
    def write(self, *, keys=()):
        raise InsufficientStorage("no space left for the database")
        yield


def test_a_full_disk_costs_no_picture(caches, database, tmp_path, clock):
    entry, damaged = caches.upload(photo()), caches.upload(photo(colour=(0, 9, 9))[:-200])
    first = taken(caches.make().open(entry, THUMBNAIL, "webp"))
    clock.advance(601)  # a use would be recorded
    full = caches.make(FullDatabase(database))

    assert taken(full.open(entry, THUMBNAIL, "webp")) == first
    assert taken(full.open(entry, THUMBNAIL, "png"))
    with pytest.raises(UnusableImage):
        full.open(damaged, THUMBNAIL, "webp")
    assert cached(tmp_path) == [f"{entry.cid}.cover-128x128.webp"]


def test_without_a_folder_pictures_are_made_each_time(caches, tmp_path):
    (tmp_path / "images").write_text("in the way")
    cache = caches.make()
    entry = caches.upload(photo())

    first, second = (taken(cache.open(entry, THUMBNAIL, "webp")) for _ in range(2))

    assert first == second


def test_a_request_that_waits_too_long_for_a_picture_is_refused(caches, tmp_path):
    entry = caches.upload(photo())
    lock = tmp_path / "images" / "locks" / shard_of(entry.cid)
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(ServiceBusy):
            caches.make(lock_seconds=0.1).open(entry, THUMBNAIL, "webp")

    assert taken(caches.make().open(entry, THUMBNAIL, "webp"))


VIDEO = media.mp4(
    media.box(
        b"moov", media.movie_header(600, 900), media.track(480, 640, matrix=media.QUARTER_TURN)
    )
)


@pytest.mark.parametrize(
    "data, mime_type, facts",
    [
        (photo(), "image/jpeg", (640, 480, None)),
        (photo()[:-50], "image/jpeg", (640, 480, None)),
        (VIDEO, "video/mp4", (640, 480, 1500)),
        (VIDEO + bytes(300_000), "video/mp4", (640, 480, 1500)),
        (b"\xff\xd8\xff\xe0" + bytes(100), "image/jpeg", (None, None, None)),
    ],
    ids=["picture", "truncated picture", "video", "video in a file", "garbage"],
)
def test_size_and_duration_are_known_from_the_upload(service, data, mime_type, facts):
    cid = service.upload(data, mime_type)

    entry = service.entry(cid)
    shown = service.app.test_cli_runner().invoke(args=["blobs", "show", cid]).output

    assert (entry.width, entry.height, entry.duration_ms) == facts
    assert [" ".join(line.split()) for line in shown.splitlines() if line.startswith("width")] == [
        f"width {facts[0] or ''}".strip()
    ]


def test_old_rows_are_filled_in_by_a_command(service):
    cids = [
        service.upload(photo(form="PNG"), "image/png"),
        service.upload(VIDEO + bytes(300_000), "video/mp4"),
    ]
    with service.inside.database.write() as tx:
        tx.run(
            "UPDATE blob_metadata SET width = NULL, height = NULL, duration_ms = NULL, "
            "probed_at = NULL"
        )
    run = service.app.test_cli_runner().invoke

    first = run(args=["blobs", "backfill", "--json"])
    second = run(args=["blobs", "backfill", "--json"])

    assert sorted(
        (row["cid"], row["width"], row["durationMs"])
        for row in map(json.loads, first.output.splitlines())
    ) == (sorted([(cids[0], 640, None), (cids[1], 640, 1500)]))
    assert (second.exit_code, second.output) == (0, "")


class Replaced(DiskBackend):
    """While the blob is read, its account deletes it and uploads it again with a type."""

    def open(self, cid, start=0, stop=None):
        file = super().open(cid, start, stop)
        with self.database.write() as tx:
            entry = replace(
                blobs.owners(tx, cid)[0].entry, mime_type="image/jpeg", width=640, height=480
            )
            blobs.remove_owner(tx, entry.did, cid)
            blobs.add_owner(tx, entry)
        return file


def test_a_backfill_leaves_what_was_uploaded_again_meanwhile_as_it_is(
    caches, tmp_path, database, clock
):
    caches.upload(photo())
    with database.write() as tx:
        tx.run(
            "UPDATE blob_metadata SET mime_type = 'video/mp4', width = NULL, height = NULL, "
            "probed_at = NULL"
        )
    backend = Replaced(tmp_path / "blobs", durable=False)
    backend.database = database

    found = list(backfill(backend, database, clock))

    assert found == []
    with database.read() as tx:
        assert tx.one("SELECT mime_type, width, height FROM blob_metadata") == (
            "image/jpeg",
            640,
            480,
        )


def test_a_lost_blob_does_not_stop_the_backfill(service):
    lost, kept = service.upload(photo()), service.upload(photo(320, 240))
    with service.inside.database.write() as tx:
        tx.run("UPDATE blob_metadata SET width = NULL, height = NULL, probed_at = NULL")
    service.inside.blobs.backend.delete(lost)

    result = service.app.test_cli_runner().invoke(args=["blobs", "backfill"])

    assert result.exit_code == 0
    assert service.entry(kept).width == 320 and service.entry(lost).width is None


GPS = media.tiff(gps={2: media.rationals((52, 1), (31, 1), (0, 1))})


@pytest.mark.parametrize("padding", [0, 300_000], ids=["in memory", "in a file"])
def test_a_location_is_refused_where_the_operator_says_so(serve, tmp_path, padding):
    data = media.jpeg(8, 8, media.exif_segment(GPS)) + bytes(padding)
    service = serve(location_metadata="refuse")

    refused = service.client.post(
        "/xrpc/com.atproto.repo.uploadBlob",
        data=data,
        headers={"Content-Type": "image/jpeg", **service.owner},
    )

    assert (refused.status_code, refused.json["error"]) == (400, "LocationMetadata")
    assert "location" in refused.json["message"]
    assert list((tmp_path / "blobs").glob("??/*")) == []
    assert service.upload(media.jpeg(8, 8) + bytes(padding))


def test_a_location_is_accepted_by_default(service):
    assert service.upload(media.jpeg(8, 8, media.exif_segment(GPS)))
