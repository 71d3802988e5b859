"""The names in the data folder, on which operators, nginx and the docs rely."""

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
