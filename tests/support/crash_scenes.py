"""What a service does when it dies."""

import io
import os
import secrets
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from xml.etree.ElementTree import fromstring

from support.accounts import (
    ADMIN,
    ALICE,
    CAROL,
    Account,
    blob_path,
    set_takedown,
    sign_up,
    take_down,
)
from support.car_files import car_of, reference
from support.cids import cid_of
from support.clock import Clock
from support.media_samples import jpeg
from support.object_api import SETTINGS as OBJECT_SETTINGS
from support.object_api import SignedClient
from support.services import close, services_of
from support.tracer import Child, refuse_hard_links

from aurora_blobs.app import create_app
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.config import Config
from aurora_blobs.errors import BlobNotFound

DAY = 86_400
NEWCOMER = {"handle": "carol.test", "email": "carol@example.com", "password": "correct horse"}


class Ticking(Clock):
    """A clock that goes on by a millisecond when it is asked. It begins with the files' time."""

    def __init__(self):
        self.now = time.time_ns() // 1000

    def __call__(self):
        self.now += 1000
        return self.now


class Site:
    """A service with its data in *folder*, which dies and starts again."""

    def __init__(self, folder: Path, clock=None, settings=None):
        self.folder = folder
        self.data = folder / "data"
        self.clock = clock or Ticking()
        self.settings = settings or {}

    def open(self):
        return create_app(
            Config.from_environ(
                {
                    "AURORA_BLOBS_DATA_DIR": str(self.data),
                    "AURORA_BLOBS_ADMIN_PASSWORD": ADMIN[1],
                    "AURORA_BLOBS_ACCEL_REDIRECT": "/_blobs/",
                    "AURORA_BLOBS_DISK_RESERVE": "64KiB",  # 16 MiB are copied for each death
                    **self.settings,
                }
            ),
            clock=self.clock,
        )

    @contextmanager
    def opened(self):
        app = self.open()
        try:
            yield app
        finally:
            close(app)

    def at(self, folder: Path):
        """A site in another place, at the same time."""
        clock = Ticking()
        clock.now = self.clock.now
        return Site(folder, clock, self.settings)


def run(app, *words):
    result = app.test_cli_runner().invoke(args=words)
    assert result.exit_code == 0, result.output
    return result.output


class Scene:
    """Something that a service does: `prepare` is what was before, `act` is what dies half way.

    `kept` are blobs, as DID and bytes, that their owner has whatever happens; those of
    `kept_with_account` until the account is deleted. `hidden` are those that nobody is served.
    `gained` and `hides` are the same, from the moment on when `act` returns. `damaged` are bytes
    under whose CIDs the disk has others until then. `findings` are what fsck may report after a
    death. None of them is a loss.
    """

    opens_itself = False
    has_hard_links = True
    findings: frozenset[str] = frozenset()
    settings: dict[str, str] = {}  # of the service, beside those of a site

    def __init__(self):
        self.kept, self.hidden, self.gained, self.hides = [], [], [], []
        self.kept_with_account, self.damaged = [], []

    def prepare(self, site):
        with site.opened() as app:
            self.alice = sign_up(app.test_client(), "alice.test")
            self.bob = sign_up(app.test_client(), "bobby.test")
            self.setting(site, app)

    def setting(self, site, app):
        pass

    def act(self, site, app):
        raise NotImplementedError

    def unknown(self, site, app, answer):
        """What is wrong after the *answer* of `act` was given."""
        return ()

    def damage(self, site, app, data):
        """Put other bytes in the place of *data*."""
        path = site.data / "blobs" / services_of(app).blobs.backend.path(cid_of(data))
        path.write_bytes(damaged(data))
        self.damaged.append(data)

    def publish(self, member, data):
        """A public blob that nginx may serve by itself, and a thumbnail of it."""
        published = member.publish(data)
        assert member.fetch(published.cid).status_code == 200
        link_thumbnail(member.client.application, member.did, published.cid)
        return published


def damaged(data):
    return b"!" * len(data)


def link_thumbnail(app, did, cid):
    """What the answer with a kept thumbnail does, if everybody may see it."""
    services, name = services_of(app), "avatar.cover-1000x1000.webp"
    with suppress(BlobNotFound):
        services.public_links.add_picture(
            did,
            cid,
            name,
            f"../images/{name}",
            lambda: services.blobs.describe(did, cid) is not None,
            now=services.clock(),
        )


def as_in(app, member):
    return member.at(app.test_client())


class SmallUpload(Scene):
    data = jpeg("small")

    def setting(self, site, app):
        self.kept = [(self.bob.did, jpeg("bob's"))]
        self.publish(self.bob, jpeg("bob's"))
        self.gained = [(self.alice.did, self.data)]

    def act(self, site, app):
        as_in(app, self.alice).blob(self.data)


class LargeUpload(SmallUpload):
    """Longer than one read."""

    data = jpeg("large") + bytes(range(256)) * 4500


class UploadOfAnothers(SmallUpload):
    data = jpeg("bob's")


class StreamedUpload(SmallUpload):
    """Nobody has declared its size: it goes into a file before its CID is known."""

    data = LargeUpload.data

    def act(self, site, app):
        upload(app, self.alice, self.data)


class FetchedTogether(SmallUpload):
    """Some of two accounts, which come from elsewhere; a large one, and bytes that are here."""

    def setting(self, site, app):
        super().setting(site, app)
        self.gained = [
            *((self.alice.did, jpeg(text)) for text in ("one", "two", "bob's")),
            (self.bob.did, jpeg("one")),
            (self.bob.did, LargeUpload.data),
        ]

    def act(self, site, app):
        with services_of(app).blobs.together() as together:
            for did, data in self.gained:
                together.receive(Incoming(stream=io.BytesIO(data), did=did))
            refused = [it for it in together.keep() if isinstance(it, Exception)]
        assert refused == []


class UploadWithoutLinks(LargeUpload):
    """To a file system that has no hard links: the bytes are copied."""

    has_hard_links = False


class UploadOverOther(SmallUpload):
    """Over bytes that a disk has damaged, which nobody knew."""

    findings = frozenset({"stray"})

    def setting(self, site, app):
        super().setting(site, app)
        self.damage(site, app, self.data)


class UploadAfterCheckpoint(SmallUpload):
    """The database's log begins again from its start, over what it had."""

    def act(self, site, app):
        super().act(site, app)
        with closing(sqlite3.connect(services_of(app).database.path)) as other:
            other.execute("PRAGMA wal_checkpoint(FULL)")
        as_in(app, self.bob).blob(jpeg("after the checkpoint"))


class SignUp(Scene):
    """Somebody comes, or comes again, and is known by the token later."""

    def setting(self, site, app):
        self.gained = [("did:web:carol.test", jpeg("carol's"))]

    def act(self, site, app):
        client = app.test_client()
        answer = client.post("/xrpc/com.atproto.server.createAccount", json=NEWCOMER)
        if answer.status_code == 400 and answer.json["error"] == "HandleNotAvailable":
            again = {"identifier": NEWCOMER["handle"], "password": NEWCOMER["password"]}
            answer = client.post("/xrpc/com.atproto.server.createSession", json=again)
        assert answer.status_code == 200, answer.text
        carol = Account(answer.json["did"], answer.json["accessJwt"], client)
        carol.blob(jpeg("carol's"))
        return carol.headers

    def unknown(self, site, app, headers):
        answer = app.test_client().get("/xrpc/com.atproto.server.getSession", headers=headers)
        if answer.status_code != 200:
            yield f"the token is not known any more: {answer.text}"


class FirstStart(SignUp):
    """In an empty folder."""

    opens_itself = True

    def prepare(self, site):
        site.folder.mkdir()
        self.setting(site, None)

    def act(self, site, app):
        with site.opened() as app:
            return super().act(site, app)


class Start(Scene):
    """After a death that left all that a death can leave in the spool."""

    opens_itself = True

    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg("cat")), (self.bob.did, jpeg("dog"))]
        self.publish(self.alice, jpeg("cat"))
        self.bob.blob(jpeg("dog"))
        for text in ("cat", "dog", "stray"):
            cid = cid_of(jpeg(text))
            spooled = site.data / "spool" / f"{cid}.0123456789abcdef"
            spooled.write_bytes(jpeg(text))
        os.link(spooled, site.data / "blobs" / services_of(app).blobs.backend.path(cid))
        (site.data / "spool" / "upload.0123456789abcdef").write_bytes(b"half")

    def act(self, site, app):
        with site.opened():
            pass


class RecordWrite(Scene):
    """A record comes that names a blob, and one goes that named another."""

    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg(text)) for text in ("old", "new")]
        self.rkey = self.publish(self.alice, jpeg("old")).rkey
        self.blob = self.alice.blob(jpeg("new"))

    def act(self, site, app):
        answer = as_in(app, self.alice).post(
            "com.atproto.repo.putRecord",
            repo=self.alice.did,
            collection="com.example.file",
            rkey=self.rkey,
            record={"file": self.blob},
        )
        assert answer.status_code == 200, answer.text


class Import(Scene):
    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg("old")), (self.alice.did, jpeg("new"))]
        self.publish(self.alice, jpeg("old"))
        self.alice.blob(jpeg("new"))
        records = {f"com.example.file/{number:03}": {"n": number} for number in range(250)}
        records["com.example.file/new"] = {"file": reference(jpeg("new"))}
        self.car = car_of(records, self.alice.did).getvalue()

    def act(self, site, app):
        answer = app.test_client().post(
            "/xrpc/com.atproto.repo.importRepo",
            data=self.car,
            headers={**self.alice.headers, "Content-Type": "application/vnd.ipld.car"},
        )
        assert answer.status_code == 200, answer.text


class Collection(Scene):
    """Of a temporary blob that nobody else holds, and of one that somebody does."""

    # The row of a blob that is over, whose bytes are gone: the next collection removes it.
    findings = frozenset({"lost"})

    def setting(self, site, app):
        self.kept = [(self.bob.did, jpeg("shared"))]
        self.publish(self.bob, jpeg("shared"))
        for text in ("shared", "over", "over too"):
            self.alice.blob(jpeg(text))
        published = self.publish(self.alice, jpeg("was public"))
        delete_record(self.alice, published)
        site.clock.advance(2 * DAY)

    def act(self, site, app):
        run(app, "blobs", "gc")


def delete_record(member, published):
    answer = member.post(
        "com.atproto.repo.deleteRecord",
        repo=member.did,
        collection="com.example.file",
        rkey=published.rkey,
    )
    assert answer.status_code == 200, answer.text


class RecordDeletion(Scene):
    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg("cat"))]
        self.published = self.publish(self.alice, jpeg("cat"))

    def act(self, site, app):
        delete_record(as_in(app, self.alice), self.published)


class Takedown(Scene):
    def setting(self, site, app):
        self.kept = [(self.bob.did, jpeg("cat"))]
        for member in (self.alice, self.bob):
            self.cid = self.publish(member, jpeg("cat")).cid
        self.hides = [(self.alice.did, jpeg("cat"))]

    def act(self, site, app):
        take_down(app.test_client(), self.alice.did, self.cid)


class TakedownForAll(Takedown):
    def setting(self, site, app):
        super().setting(site, app)
        self.kept = []
        self.hides = [(member.did, jpeg("cat")) for member in (self.alice, self.bob)]

    def act(self, site, app):
        run(app, "blobs", "takedown", self.cid)


def set_account_takedown(app, did, applied):
    answer = app.test_client().post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": did},
            "takedown": {"applied": applied},
        },
        auth=ADMIN,
    )
    assert answer.status_code == 200, answer.text


class AccountTakedown(Takedown):
    def act(self, site, app):
        set_account_takedown(app, self.alice.did, True)


class Lifting(Takedown):
    """Of an account's takedown; a blob of another stays taken down."""

    def setting(self, site, app):
        super().setting(site, app)
        set_account_takedown(app, self.alice.did, True)
        self.publish(self.bob, jpeg("dog"))
        take_down(app.test_client(), self.bob.did, cid_of(jpeg("dog")))
        self.hides, self.hidden = [], [(self.bob.did, jpeg("dog"))]
        self.gained = [(self.alice.did, jpeg("cat"))]

    def act(self, site, app):
        set_account_takedown(app, self.alice.did, False)
        assert as_in(app, self.alice).fetch(self.cid).status_code == 200


class AccountDeletion(Scene):
    """Of an account that has something of its own and something that another has too."""

    # Its bytes are gone, and the rows that nobody holds are not: the next collection removes them.
    findings = frozenset({"lost"})

    def setting(self, site, app):
        self.kept = [(self.bob.did, jpeg("shared"))]
        for member in (self.alice, self.bob):
            self.publish(member, jpeg("shared"))
        self.publish(self.alice, jpeg("alice's"))
        self.alice.blob(jpeg("temporary"))
        self.hides = [(self.alice.did, jpeg(text)) for text in ("shared", "alice's", "temporary")]

    def act(self, site, app):
        answer = app.test_client().post(
            "/xrpc/com.atproto.admin.deleteAccount", json={"did": self.alice.did}, auth=ADMIN
        )
        assert answer.status_code in (200, 400), answer.text  # 400: it was deleted before we died


class Scrubbing(Scene):
    """Finds wrong bytes, sets them aside, and an upload brings the right ones back."""

    findings = frozenset({"lost", "missing", "wrong bytes", "found again"})

    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg("cat"))]
        self.publish(self.alice, jpeg("cat"))
        self.publish(self.bob, jpeg("dog"))
        self.gained = [(self.bob.did, jpeg("dog"))]
        self.damage(site, app, jpeg("dog"))

    def act(self, site, app):
        app.test_cli_runner().invoke(args=["blobs", "scrub", "--repair"])
        as_in(app, self.bob).blob(jpeg("dog"))
        assert set_aside(site) == {damaged(jpeg("dog"))}

    def unknown(self, site, app, answer):
        if not set_aside(site):
            yield "what was set aside is gone"


def set_aside(site):
    return {path.read_bytes() for path in (site.data / "blobs" / "quarantine").iterdir()}


class ScrubbingWithoutLinks(Scrubbing):
    has_hard_links = False


class Object(Scene):
    """A PDS puts, copies and deletes objects. What it has not heard of it does again."""

    settings = OBJECT_SETTINGS
    data = jpeg("cat")
    staged = f"tmp/{CAROL}/cat"
    stored = f"blocks/{CAROL}/{cid_of(jpeg('cat'))}"
    aside = f"quarantine/{CAROL}/{cid_of(jpeg('cat'))}"

    def prepare(self, site):
        with site.opened() as app:
            self.setting(site, app)

    def is_there(self, app, key):
        """Whether the object *key* has the bytes of `data`."""
        return cid_of(self.data) in pds_of(app).head(key).headers.get("ETag", "")


def pds_of(app):
    return SignedClient(app.test_client())


def done(answer):
    assert answer.status_code in (200, 204), answer.text
    return answer


class ObjectUpload(Object):
    def setting(self, site, app):
        self.gained = [(CAROL, self.data)]

    def act(self, site, app):
        done(pds_of(app).put(self.staged, self.data))

    def unknown(self, site, app, answer):
        if not self.is_there(app, self.staged):
            yield "the upload has no name any more"


class ObjectUploadInParts(ObjectUpload):
    def act(self, site, app):
        pds = pds_of(app)
        # Within a second, the same request begins the same upload.
        begun = done(pds.open("POST", self.staged, query=f"uploads&x-id={secrets.token_hex(4)}"))
        upload = f"uploadId={text_of(begun, 'UploadId')}"
        part = done(pds.put(self.staged, self.data, query=f"partNumber=1&{upload}"))
        row = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['ETag']}</ETag></Part>"
        whole = f"<CompleteMultipartUpload>{row}</CompleteMultipartUpload>".encode()
        done(pds.open("POST", self.staged, whole, query=upload))


class ObjectPromotion(Object):
    """And the end of its upload."""

    def setting(self, site, app):
        done(pds_of(app).put(self.staged, self.data))
        self.kept = [(CAROL, self.data)]

    def act(self, site, app):
        pds = pds_of(app)
        if pds.copy(self.staged, self.stored).status_code == 404:
            done(pds.head(self.stored))  # it had died after the deletion
        done(pds.delete(self.staged))

    def unknown(self, site, app, answer):
        if not self.is_there(app, self.stored):
            yield "the blob is not public any more"


class ObjectDeletion(Object):
    """Of two at once, one of which another account has too."""

    def setting(self, site, app):
        pds, dog = pds_of(app), cid_of(jpeg("dog"))
        done(pds.put(self.stored, self.data))
        for did in (ALICE, CAROL):
            done(pds.put(f"blocks/{did}/{dog}", jpeg("dog")))
            assert app.test_client().get(blob_path(did, dog)).status_code == 200
        self.keys = [self.stored, f"blocks/{CAROL}/{dog}"]
        self.kept = [(ALICE, jpeg("dog"))]
        self.hides = [(CAROL, self.data), (CAROL, jpeg("dog"))]

    def act(self, site, app):
        done(pds_of(app).delete_many(self.keys))


class ObjectPutAside(Object):
    """A takedown at the PDS: a copy, and the end of what it was copied from."""

    def setting(self, site, app):
        done(pds_of(app).put(self.stored, self.data))
        assert app.test_client().get(blob_path(CAROL, cid_of(self.data))).status_code == 200
        self.hides = [(CAROL, self.data)]

    def act(self, site, app):
        pds = pds_of(app)
        done(pds.copy(self.stored, self.aside))
        done(pds.delete(self.stored))

    def unknown(self, site, app, answer):
        if not self.is_there(app, self.aside):
            yield "what was put aside is gone"


class ObjectLifting(ObjectPutAside):
    def setting(self, site, app):
        super().setting(site, app)
        super().act(site, app)
        self.hides, self.gained = [], [(CAROL, self.data)]

    def act(self, site, app):
        pds = pds_of(app)
        done(pds.copy(self.aside, self.stored))
        done(pds.delete(self.aside))

    def unknown(self, site, app, answer):
        if not self.is_there(app, self.stored):
            yield "the blob is not public again"


def text_of(answer, name):
    """The text of the element *name* of the document that *answer* is."""
    return next(it.text for it in fromstring(answer.data).iter() if it.tag.endswith(name))


class Probe(Scene):
    def act(self, site, app):
        services_of(app).blobs.backend.probe()


class Pair(Scene):
    """Two at once: `act` happens, and is answered, while `other` stands at one of its calls."""

    def other(self, site, app):
        raise NotImplementedError


class FetchDuringLifting(Pair):
    def setting(self, site, app):
        self.cid = self.publish(self.alice, jpeg("cat")).cid
        take_down(app.test_client(), self.alice.did, self.cid)

    def other(self, site, app):
        answer = set_takedown(app.test_client(), self.alice.did, self.cid, False)
        assert answer.status_code == 200, answer.text

    def act(self, site, app):
        as_in(app, self.alice).fetch(self.cid)
        link_thumbnail(app, self.alice.did, self.cid)


class FetchDuringPublication(Pair):
    # A blob whose record was on its way may stay linked: its owner was about to show it.
    findings = frozenset({"exposed"})

    def setting(self, site, app):
        self.kept = [(self.alice.did, jpeg("cat"))]
        self.blob = self.alice.blob(jpeg("cat"))

    def other(self, site, app):
        assert as_in(app, self.alice).record({"file": self.blob}).status_code == 200

    def act(self, site, app):
        as_in(app, self.alice).fetch(cid_of(jpeg("cat")))


class UploadDuringUpload(Pair):
    def setting(self, site, app):
        self.gained = [(self.bob.did, jpeg("cat"))]

    def other(self, site, app):
        as_in(app, self.alice).blob(jpeg("cat"))

    def act(self, site, app):
        as_in(app, self.bob).blob(jpeg("cat"))


class UploadAgainDuringUpload(UploadDuringUpload):
    """By the same account."""

    def setting(self, site, app):
        self.gained = [(self.alice.did, jpeg("cat"))]

    act = UploadDuringUpload.other


class CollectionDuringDeletion(Pair):
    """Of an account. While it is there, it has its blobs."""

    findings = frozenset({"lost"})

    def setting(self, site, app):
        self.publish(self.alice, jpeg("cat"))
        self.publish(self.bob, jpeg("dog"))
        self.publish(self.alice, jpeg("dog"))
        self.kept_with_account = [(self.alice.did, jpeg(text)) for text in ("cat", "dog")]
        site.clock.advance(2 * DAY)

    def other(self, site, app):
        AccountDeletion.act(self, site, app)

    def act(self, site, app):
        run(app, "blobs", "gc")


class UploadDuringCollection(Pair):
    findings = frozenset({"lost"})

    def setting(self, site, app):
        self.alice.blob(jpeg("cat"))
        site.clock.advance(2 * DAY)
        self.gained = [(self.bob.did, jpeg("cat"))]

    def other(self, site, app):
        run(app, "blobs", "gc")

    def act(self, site, app):
        upload(app, self.bob, jpeg("cat"))


def upload(app, member, data):
    """Not over HTTP: the tokens have expired."""
    incoming = Incoming(stream=io.BytesIO(data), did=member.did, declared_type="image/jpeg")
    services_of(app).blobs.upload(incoming)


class CollectionDuringUpload(UploadDuringCollection):
    """What is collected is uploaded in that moment."""

    def setting(self, site, app):
        super().setting(site, app)
        self.gained = []

    other, act = UploadDuringCollection.act, UploadDuringCollection.other


class UploadBesideUploads(UploadDuringCollection):
    """Bytes that are here are collected, and come again in that moment."""

    def collect(self, site, app):
        run(app, "blobs", "gc")

    def upload_again(self, site, app):
        upload(app, self.alice, jpeg("cat"))


class TakedownDuringFetch(Pair):
    def setting(self, site, app):
        self.hides = [(self.alice.did, jpeg("cat"))]
        self.cid = self.alice.publish(jpeg("cat")).cid

    def other(self, site, app):
        as_in(app, self.alice).fetch(self.cid)
        link_thumbnail(app, self.alice.did, self.cid)

    def act(self, site, app):
        take_down(app.test_client(), self.alice.did, self.cid)


PAIRS = [
    FetchDuringLifting,
    FetchDuringPublication,
    UploadDuringUpload,
    UploadAgainDuringUpload,
    CollectionDuringDeletion,
    UploadDuringCollection,
    CollectionDuringUpload,
    TakedownDuringFetch,
]


# They hide something, or the PDS asks again. What a first try has half done must be as safe as what
# it has not begun.
REPEATED = [
    RecordWrite,
    RecordDeletion,
    Takedown,
    TakedownForAll,
    AccountTakedown,
    AccountDeletion,
    ObjectUpload,
    ObjectPromotion,
    ObjectDeletion,
    ObjectPutAside,
]

SCENES = [
    SmallUpload,
    LargeUpload,
    StreamedUpload,
    FetchedTogether,
    UploadWithoutLinks,
    UploadOfAnothers,
    UploadOverOther,
    UploadAfterCheckpoint,
    FirstStart,
    Start,
    SignUp,
    RecordWrite,
    RecordDeletion,
    Import,
    Collection,
    Takedown,
    TakedownForAll,
    AccountTakedown,
    Lifting,
    AccountDeletion,
    Scrubbing,
    ScrubbingWithoutLinks,
    Probe,
    ObjectUpload,
    ObjectUploadInParts,
    ObjectPromotion,
    ObjectDeletion,
    ObjectPutAside,
    ObjectLifting,
]


def play(scene, site, act=None):
    """What a child does. It tells when it begins and when it has answered, then it stops in order.

    *act* stands in for the scene's own.
    """
    act = act or scene.act

    def body(child: Child):
        if not scene.has_hard_links:
            refuse_hard_links()
        app = None if scene.opens_itself else site.open()
        child.tell(("begins", None))
        child.tell(("answered", act(site, app)))
        if app is not None:
            close(app)

    return body
