"""`aurora_blobs.open_store`: the store as a library, without a server."""

import io
import subprocess
import sys

import pytest
from support.accounts import ALICE, BOB
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs import open_store
from aurora_blobs.app import create_app
from aurora_blobs.blobs.upload import UploadRules
from aurora_blobs.config import Config
from aurora_blobs.errors import BlobNotFound, BlobTooLarge, InvalidRequest, RepoNotFound

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "blobs", durable=False) as store:
        yield store
        store.collect()
        left = list((tmp_path / "blobs" / "spool").iterdir())
    assert left == []


def read(store, did, cid):
    with store.open(did, cid) as file:
        return file.read()


@pytest.mark.parametrize("module", ["flask", "gunicorn", "werkzeug", "boto3", "PIL"])
def test_a_store_needs_no_server(tmp_path, module):
    program = "import sys; from aurora_blobs import open_store; open_store(sys.argv[1]).close()"
    program += f"; assert {module!r} not in sys.modules"

    subprocess.run([sys.executable, "-c", program, tmp_path / "a"], check=True, timeout=60)


def test_a_blob_is_kept_until_it_is_deleted(store, tmp_path):
    entry = store.upload(io.BytesIO(jpeg("cat")), did=ALICE, filename="cat.jpg")
    with open_store(tmp_path / "blobs", rules=UploadRules(grace_seconds=0)) as later:
        later.collect()

        assert read(later, ALICE, entry.cid) == jpeg("cat")
        assert list(later.list()) == [entry]
    assert entry.mime_type == "image/jpeg"
    assert entry.unreferenced_since is None


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "rules, is_kept", [(None, False), (UploadRules(grace_seconds=10**9), True)]
)
def test_what_a_service_has_as_temporary_is_collected_by_the_grace_of_the_rules(
    alice, rules, is_kept
):
    cid = alice.blob(jpeg("cat"))["ref"]["$link"]  # by the clock of the test, long ago

    with open_store(alice.services.config.data_dir, rules=rules) as store:
        store.collect()

    assert (alice.services.blobs.backend.size(cid) is not None) == is_kept


def test_bytes_go_with_their_last_owner(store, tmp_path):
    cid = store.upload(io.BytesIO(jpeg("cat")), did=ALICE).cid
    store.upload(io.BytesIO(jpeg("cat")), did=BOB)

    assert store.delete(ALICE, cid)
    assert not store.delete(ALICE, cid)

    assert list(store.list(ALICE)) == []
    assert read(store, BOB, cid) == jpeg("cat")
    assert store.delete(BOB, cid)
    assert list((tmp_path / "blobs" / "blobs").glob("??/*")) == []


def test_a_takedown_holds_until_it_is_lifted(store):
    cid = store.upload(io.BytesIO(jpeg("cat")), did=ALICE).cid

    store.take_down(cid, did=ALICE, ref="report 7")

    with pytest.raises(BlobNotFound):
        store.open(ALICE, cid)
    with pytest.raises(InvalidRequest):
        store.upload(io.BytesIO(jpeg("cat")), did=ALICE)
    assert not store.lift(cid)
    assert store.lift(cid, did=ALICE)
    assert read(store, ALICE, cid) == jpeg("cat")


def test_a_takedown_for_every_account_may_come_before_the_bytes(store):
    cid = store.upload(io.BytesIO(jpeg("cat")), did=ALICE).cid
    store.delete(ALICE, cid)

    store.take_down(cid)

    with pytest.raises(InvalidRequest):
        store.upload(io.BytesIO(jpeg("cat")), did=BOB)
    assert store.lift(cid)


def test_the_rules_hold(tmp_path):
    rules = UploadRules(max_bytes=10)

    with open_store(tmp_path, rules=rules) as store, pytest.raises(BlobTooLarge):
        store.upload(io.BytesIO(bytes(11)), did=ALICE)


def test_an_account_that_never_uploaded_owns_nothing(store):
    assert list(store.list(BOB)) == []
    assert not store.delete(BOB, CID)
    with pytest.raises(RepoNotFound):
        store.open(BOB, CID)


@pytest.mark.parametrize("did, cid", [("alice", CID), (ALICE, "bafk"), ("", ""), (ALICE, "../x")])
def test_a_malformed_did_or_cid_is_a_value_error(store, did, cid):
    for call in (store.open, store.delete):
        with pytest.raises(ValueError):
            call(did, cid)


def test_the_service_runs_on_the_same_folder(store, tmp_path):
    entry = store.upload(io.BytesIO(jpeg("cat")), did=ALICE)
    environ = {"AURORA_BLOBS_DATA_DIR": str(tmp_path / "blobs")}

    app = create_app(Config.from_environ(environ))

    where = {"did": ALICE, "cid": entry.cid}
    answer = app.test_client().get("/xrpc/com.atproto.sync.getBlob", query_string=where)
    assert answer.data == jpeg("cat")
    checked = app.test_cli_runner().invoke(args=["blobs", "fsck"])
    assert checked.exit_code == 0, checked.output
    services_of(app).database.close()
