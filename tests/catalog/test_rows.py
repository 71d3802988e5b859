"""A statement selects the fields of the object it makes, in their order."""

import ast
import sqlite3
from contextlib import closing
from importlib import import_module
from inspect import getsource, signature

import pytest
from support.statements import TREES, statement, statements_of_catalog

from aurora_blobs.db.sqlite import add_functions


def fields_of(module, call):
    """The parameters that the last argument of *call*, ``*row``, fills."""
    made = getattr(import_module(f"aurora_blobs.catalog.{module}"), call.func.id)
    *fields, last = list(signature(made).parameters.values())[len(call.args) - 1 :]
    names = [field.name for field in fields]
    if last.kind is not last.VAR_POSITIONAL:
        return [*names, last.name]
    function = ast.parse(getsource(made))
    (inner,) = (
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and f"*{last.name}" in map(ast.unparse, node.args)
    )
    return names + fields_of(module, inner)


def made_of_rows():
    """Each ``Made(*row)``: its place, the statements there, and the fields of the row."""
    for module, tree in TREES.items():
        for function in tree.body:
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            selects = [
                statement(module, call.args[0])
                for call in calls
                if ast.unparse(call.func) in ("tx.one", "tx.all", "tx.each")
            ]
            for call in calls:
                if selects and call.args and isinstance(call.args[-1], ast.Starred):
                    yield pytest.param(
                        selects, fields_of(module, call), id=f"{module}.{function.name}"
                    )


@pytest.mark.sqlite
@pytest.mark.parametrize("selects, fields", list(made_of_rows()))
def test_columns_are_the_fields_in_their_order(database, selects, fields):
    with closing(sqlite3.connect(database.path)) as connection:
        add_functions(connection)
        cursors = [connection.execute(sql, (0,) * sql.count("?")) for sql in selects]
        columns = [",".join(column[0] for column in cursor.description) for cursor in cursors]

    assert [",".join(fields) in listed for listed in columns] == [True]


@pytest.mark.parametrize("module", TREES)
def test_no_column_but_a_single_one_is_taken_by_its_number(module):
    taken = [
        ast.unparse(node)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "row"
    ]

    assert set(taken) <= {"row[0]"}


def test_no_text_in_a_statement_looks_like_a_placeholder():
    """On PostgreSQL each ``?`` becomes a number."""
    texts = [(name, text) for name, sql in statements_of_catalog() for text in sql.split("'")[1::2]]

    assert len(texts) > 10
    assert [name for name, text in texts if "?" in text] == []
