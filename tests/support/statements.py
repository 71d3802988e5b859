"""Every statement of the catalog."""

import ast
from importlib import resources


def statements_of_catalog():
    """Function and statement of the catalog, without reference_pds, another program's database."""
    for file in sorted(resources.files("aurora_blobs").joinpath("catalog").iterdir()):
        if file.suffix == ".py" and file.stem != "reference_pds":
            for function in ast.parse(file.read_text()).body:
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                        "tx.one",
                        "tx.all",
                        "tx.each",
                        "tx.run",
                        "tx.run_each",
                    ):
                        yield f"{file.stem}.{function.name}", ast.literal_eval(node.args[0])


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
