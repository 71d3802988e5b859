"""What has to be true when a service starts again after a death."""

import json
from pathlib import Path

from support.cids import cid_of
from support.crash_scenes import DAY, run
from support.services import services_of

from aurora_blobs.data_folder import DataFolder
from aurora_blobs.protocol.cid import cid_of_name, name_at
from aurora_blobs.storage.base import MARK

_SHARDS = {f"{number:02x}" for number in range(256)}
_OF_A_STORE = _SHARDS | {"quarantine", "unfinished", MARK}


def complaints(scene, death):
    """What is wrong after a *death* in *scene*: nothing, if the service keeps its promises."""
    site, answers, in_order = death.site, death.answers, death.in_order
    gained = scene.kept + (scene.gained if answers else [])
    hidden = scene.hidden + (scene.hides if answers else [])
    allowed = scene.findings | (set() if in_order else {"stray"})
    with site.opened() as app:
        yield from _left(site.data / "spool", "the spool")
        yield from _left(site.data, "the data folder", _places_in(site.data))
        yield from _left(site.data / "public" / ".gone", "the links that were removed")
        yield from _unkept(app, gained)
        yield from _exposed(site, app, hidden)
        yield from _wrong(app, [] if answers else scene.damaged)
        for did, data in scene.kept_with_account:
            if services_of(app).accounts.find(did) is not None:
                yield from _unkept(app, [(did, data)])
        yield from _untold(app)
        for answer in answers:
            yield from scene.unknown(site, app, answer)
        yield from _findings(app, allowed, "at first")
        if not scene.opens_itself:
            scene.act(site, app)
            yield from (
                f"{it}, after its repetition" for it in _unkept(app, scene.kept + scene.gained)
            )
            yield from _exposed(site, app, scene.hidden + scene.hides)
        public = [(did, data) for did, data in gained if is_public(app, did, data)]
        site.clock.advance(2 * DAY)
        run(app, "blobs", "gc")
        yield from (f"{it}, after a collection" for it in _unkept(app, public))
        yield from _findings(app, set() if in_order else {"stray"}, "after a collection")
        yield from _wrong(app, [])
        yield from _leftovers(site)
    if scene.opens_itself:
        with site.opened() as app:
            scene.act(site, None)


def is_public(app, did, data):
    answer = app.test_client().get(
        "/xrpc/com.atproto.sync.getBlob", query_string={"did": did, "cid": cid_of(data)}
    )
    return answer.status_code == 200


def _leftovers(site):
    yield from _left(site.data / "spool", "the spool")
    blobs = site.data / "blobs"
    yield from _left(blobs, "the store", _OF_A_STORE)
    yield from _left(blobs / "unfinished", "the store")
    for path in sorted(blobs.glob("??/*")):
        if name_at(f"{path.parent.name}/{path.name}") is None:
            yield f"{path.name} is left in the store"


def _places_in(folder):
    """What a data folder has in it at any time."""
    layout = DataFolder(folder)
    places = [getattr(layout, name) for name in dir(DataFolder) if not name.startswith("_")]
    names = {place.name for place in places if isinstance(place, Path)}
    return names | {f"{layout.database.name}-{its}" for its in ("journal", "lock", "shm", "wal")}


def _left(folder, where, allowed=frozenset()):
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in allowed:
            yield f"{path.name} is left in {where}"


def _unkept(app, promised):
    for did, data in promised:
        cid = cid_of(data)
        blobs = services_of(app).blobs
        try:
            with blobs.open(blobs.describe(did, cid, viewer=did)) as file:
                if file.read() != data:
                    yield f"{cid} of {did} has other bytes"
        except Exception as error:
            yield f"{cid} of {did} is lost: {error!r}"


def _exposed(site, app, hidden):
    for did, data in hidden:
        if is_public(app, did, data):
            yield f"{cid_of(data)} of {did} is served"
    for link in (site.data / "public").glob("did:*/*"):
        did, cid = link.parent.name, link.stem
        if (did, cid) in {(did, cid_of(data)) for did, data in hidden}:
            yield f"{cid} of {did} is served by nginx"
    for blob in (site.data / "public" / "pictures").glob("*/did:*/*"):
        did, cid = blob.parent.name, blob.name
        if (did, cid) in {(did, cid_of(data)) for did, data in hidden}:
            yield f"a thumbnail of {cid} of {did} is served by nginx"


def _untold(app):
    """What is taken down has to be what the audit trail says is."""
    last = {}
    for act in services_of(app).audit.acts():
        if act.action in ("takedown", "lift"):
            last.setdefault((act.did, act.cid), act.action)
    told = {subject for subject, action in last.items() if action == "takedown"}
    found = {(one.did, one.cid) for one in services_of(app).moderation.takedowns()}
    yield from (f"{subject} is taken down and not told, or told" for subject in told ^ found)


def _findings(app, allowed, when):
    result = app.test_cli_runner().invoke(args=["blobs", "fsck", "--json"])
    for finding in json.loads(result.output)["findings"]:
        if finding["kind"] not in allowed:
            yield f"fsck {when}: {finding['kind']}: {finding['subject']}: {finding['detail']}"


def _wrong(app, damaged):
    """Bytes under the name of others, which every reader would get."""
    known = {cid_of(data) for data in damaged}
    for path in services_of(app).config.data_folder.blobs.glob("??/*"):
        if cid_of_name(path.name) not in known and cid_of(path.read_bytes()) != cid_of_name(
            path.name
        ):
            yield f"{path.name} has other bytes"
