"""docs/operate.md shows the data folder as it is."""

from pathlib import Path

from support.pages import rows
from support.project import DOCS

from aurora_blobs.data_folder import DataFolder


def test_the_table_of_the_data_folder_has_every_place_in_it():
    folder = DataFolder(Path())
    properties = [name for name, one in vars(DataFolder).items() if isinstance(one, property)]
    text = (DOCS / "operate.md").read_text().partition("| in it |")[2].partition("\n\n")[0]
    shown = {row[0].strip("`").rstrip("/") for row in rows(text)}

    assert shown == {str(getattr(folder, name)) for name in properties}
