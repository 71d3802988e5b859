"""docs/metrics.md has each metric, and names no other."""

import re

import pytest
from support import metrics_table
from support.pages import PAGES, generated, name_of

from aurora_blobs.metrics.families import FAMILIES, PREFIX

NAMES = {family.name for family in FAMILIES}
# Of a histogram Prometheus makes three.
NAMES |= {
    f"{family.name}_{part}"
    for family in FAMILIES
    for part in ("bucket", "count", "sum")
    if family.kind == "histogram"
}


def test_the_table_of_metrics_is_that_of_the_code():
    assert generated(metrics_table.PAGE, "metrics") == metrics_table.table(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_existing_metrics(page):
    ends = "total|bytes|seconds|info|count|sum|bucket"
    named = set(re.findall(rf"\b{PREFIX}\w+_(?:{ends})\b", page.read_text()))

    assert named - NAMES == set()


def test_a_metric_is_named_as_prometheus_wants_it():
    kinds = {family.name: family.kind for family in FAMILIES}

    assert {name for name in kinds if name.endswith("_total")} == {
        name for name, kind in kinds.items() if kind == "counter"
    }
    assert all(re.fullmatch(rf"{PREFIX}[a-z]+(_[a-z]+)*", name) for name in kinds)
