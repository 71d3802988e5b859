"""Every statement of the catalog."""

import ast
from importlib import import_module, resources

# reference_pds reads another program's database.
TREES = {
    file.stem: ast.parse(file.read_text())
    for file in sorted(resources.files("aurora_blobs").joinpath("catalog").iterdir())
    if file.suffix == ".py" and file.stem != "reference_pds"
}
_RUN = ("tx.one", "tx.all", "tx.each", "tx.run", "tx.run_each")


def statement(module, node):
    """The text of the argument *node* of *module*: a literal, or a sum with the module's texts."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return statement(module, node.left) + statement(module, node.right)
    if isinstance(node, ast.Name):
        return getattr(import_module(f"aurora_blobs.catalog.{module}"), node.id)
    return ast.literal_eval(node)


def statements_of_catalog():
    """Function and statement of the catalog."""
    for module, tree in TREES.items():
        for function in tree.body:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in _RUN:
                    yield f"{module}.{function.name}", statement(module, node.args[0])


# Those that may read a whole table: of commands over the whole store, and of small tables.
WHOLE = {
    "record_usage.miscounts",
    *("inventory.totals", "inventory._holdings", "inventory.miscounts"),
    *("inventory.wrong_sizes", "inventory.missing"),
    *("accounts.largest", "accounts.sums", "jobs.runs", "takedowns.search"),
    "takedowns.count",  # by an index in SQLite
    "reads.total",
    "purges.add",  # up to 10,000 rows
    *("derivatives.recount", "schema.version", "stores.marked", "jobs.forget_unended"),
}
