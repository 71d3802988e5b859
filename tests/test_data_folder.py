"""The names in the data folder, on which operators, nginx and the docs rely."""

import os
from pathlib import Path

import pytest

from aurora_blobs.data_folder import DataFolder


@pytest.mark.parametrize(
    "place, name",
    [
        ("database", "aurora.sqlite3"),
        ("blobs", "blobs"),
        ("spool", "spool"),
        ("public_links", "public"),
        ("thumbnails", "images"),
        ("session_secret", "jwt.secret"),
    ],
)
def test_a_place_keeps_its_name(place, name):
    assert getattr(DataFolder(Path("/srv")), place) == Path("/srv") / name


def test_a_link_to_a_blob_leads_from_the_folder_of_links_to_that_of_blobs():
    folder = DataFolder(Path("/srv"))

    target = os.path.normpath(folder.public_links / folder.link_target("0f/bafkrei"))

    assert Path(target) == folder.blobs / "0f" / "bafkrei"


def test_a_link_to_a_thumbnail_leads_to_the_folder_of_thumbnails():
    folder = DataFolder(Path("/srv"))

    target = os.path.normpath(folder.public_links / folder.thumbnail_target("0f/x.webp"))

    assert Path(target) == folder.thumbnails / "0f" / "x.webp"
