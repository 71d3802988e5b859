"""The settings that the pages name are those that there are."""

import re
from dataclasses import fields

import pytest
from support import settings_table
from support.pages import PAGES, generated, name_of

from aurora_blobs.config import PREFIX, Config

NAMES = {f"{PREFIX}{setting.name.upper()}" for setting in fields(Config)}


def test_the_table_of_settings_is_that_of_the_code():
    assert generated(settings_table.PAGE, "settings") == settings_table.table(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_existing_settings(page):
    named = set(re.findall(rf"(?<!_){PREFIX}[A-Z0-9_]+", page.read_text()))

    assert named - NAMES == set()
