"""docs/pictures.md shows the presets that there are."""

from support.pages import rows
from support.project import DOCS

from aurora_blobs.thumbnails.presets import presets


def test_the_table_of_presets_is_that_of_the_code():
    table = {row[0].strip("`"): row for row in rows((DOCS / "pictures.md").read_text())}
    shown = {name: table[name][2] for name in presets(()) if name in table}

    assert shown == {name: f"{one.width} x {one.height}" for name, one in presets(()).items()}
    assert {name for name, row in table.items() if row[1] == "all"} == {
        name for name, one in presets(()).items() if one.fit == "inside"
    }
