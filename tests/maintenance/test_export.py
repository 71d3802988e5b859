"""An export in a folder where something lies: nothing wrong stays, nothing else is touched."""

import json
import os

import pytest
from support.accounts import ALICE
from support.cids import cid_of
from support.full_disk import max_file_size

from aurora_blobs.errors import InsufficientStorage
from aurora_blobs.maintenance.export import Export

NOTE, OTHER = b"a note", b"another"
NAME = cid_of(NOTE)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def victim(tmp_path):
    """A file outside of the folder."""
    path = tmp_path / "victim"
    path.write_bytes(b"of somebody else")
    return path


@pytest.fixture
def export(core, folder):
    """Export two blobs of Alice; the findings."""
    core.upload(NOTE)
    core.upload(OTHER)

    def export():
        job = Export(core.database, core.blobs, ALICE)
        found = list(job.to_folder(folder, lambda size: None))
        return [(finding.kind, finding.subject) for finding in found]

    return export


def is_whole(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return (
        {blob["cid"] for blob in manifest["blobs"]} == {NAME, cid_of(OTHER)}
        and {path.name for path in folder.iterdir()} == {NAME, cid_of(OTHER), "manifest.json"}
        and not any(path.is_symlink() for path in folder.iterdir())
        and (folder / NAME).read_bytes() == NOTE
        and (folder / cid_of(OTHER)).read_bytes() == OTHER
    )


@pytest.mark.parametrize("data", [b"A NOTE", b"", NOTE + b"s"], ids=["wrong", "empty", "longer"])
def test_a_file_that_is_not_the_blob_is_replaced(export, folder, data):
    (folder / NAME).write_bytes(data)

    assert export() == []
    assert is_whole(folder)


def test_a_file_that_is_the_blob_is_left_as_it_is(export, folder):
    export()
    before = os.stat(folder / NAME)

    assert export() == []
    assert os.stat(folder / NAME).st_ino == before.st_ino


@pytest.mark.parametrize("name", [NAME, f"{NAME}.part", "manifest.json", "manifest.json.part"])
def test_no_link_is_followed(export, folder, victim, name):
    (folder / name).symlink_to(victim)

    assert export() == []
    assert victim.read_bytes() == b"of somebody else"
    assert is_whole(folder)


def test_a_link_to_the_right_bytes_is_no_file_of_the_export(export, folder, victim):
    victim.write_bytes(NOTE)
    (folder / NAME).symlink_to(victim)

    assert export() == []
    assert is_whole(folder)


@pytest.mark.parametrize("name", [NAME, f"{NAME}.part", "manifest.json", "manifest.json.part"])
def test_a_fifo_is_replaced_and_hangs_nobody(export, folder, name):
    os.mkfifo(folder / name)

    assert export() == []
    assert is_whole(folder)


@pytest.mark.parametrize(
    "name, subject",
    [
        (NAME, NAME),
        (f"{NAME}.part", NAME),
        ("manifest.json", "manifest.json"),
        ("manifest.json.part", "manifest.json"),
    ],
)
def test_a_folder_in_the_way_is_a_finding_and_the_rest_comes(export, folder, name, subject):
    (folder / name / "kept").mkdir(parents=True)

    assert export() == [("not written", subject)]
    assert (folder / cid_of(OTHER)).read_bytes() == OTHER
    assert (folder / name / "kept").is_dir()


def test_bytes_that_are_wrong_here_leave_what_is_there(core, export, folder):
    export()
    (folder / NAME).write_bytes(b"longer than before")
    (core.backend.root / core.backend.path(NAME)).write_bytes(b"A NOTE")

    assert export() == [("wrong bytes", NAME)]
    assert (folder / NAME).read_bytes() == b"longer than before"
    assert not (folder / f"{NAME}.part").exists()


def test_a_full_disk_ends_the_export_and_leaves_no_part(core, export, folder):
    large = core.upload(bytes(100_000))

    with max_file_size(50_000), pytest.raises(InsufficientStorage):
        export()

    assert not (folder / large.cid).exists()
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == []
