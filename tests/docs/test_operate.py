"""docs/operate.md shows the data folder and the fields of the log as they are."""

import ast
import inspect
import re
from pathlib import Path

from support.pages import rows
from support.project import DEPLOY, DOCS, PACKAGE

from aurora_blobs import logs
from aurora_blobs.data_folder import DataFolder

NGINX = (DEPLOY / "nginx.conf").read_text()


def test_the_table_of_the_data_folder_has_every_place_in_it():
    folder = DataFolder(Path())
    properties = [name for name, one in vars(DataFolder).items() if isinstance(one, property)]
    text = (DOCS / "operate.md").read_text().partition("| in it |")[2].partition("\n\n")[0]
    shown = {row[0].strip("`").rstrip("/") for row in rows(text)}

    assert shown == {str(getattr(folder, name)) for name in properties}


def test_the_table_of_fields_has_every_field_that_is_logged():
    text = (DOCS / "operate.md").read_text().partition("| field |")[2].partition("\n\n")[0]
    shown = {name for row in rows(text) for name in re.findall(r"`(\w+)`", row[0])}

    assert shown == fields_of_events() | fields_of_nginx() | {"request"}


def fields_of_events():
    """The names of the arguments of each call of `logs.event`."""
    calls = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logs.event"
    ]
    named = {keyword.arg for node in calls for keyword in node.keywords}
    own = inspect.signature(logs.event).parameters
    return {*named} - {None, *own}


def fields_of_nginx():
    (form,) = re.findall(r"log_format aurora_blobs '(.*?)';", NGINX, re.DOTALL)
    return set(re.findall(r"(\w+)=\"?\$", form))


def test_both_formats_of_nginx_have_the_same_fields():
    (form,) = re.findall(r"log_format aurora_blobs_json .*?'(.*?)';", NGINX, re.DOTALL)
    head = {"time", "level", "logger", "message"}

    assert set(re.findall(r'"(\w+)": ', form)) == head | fields_of_nginx()
