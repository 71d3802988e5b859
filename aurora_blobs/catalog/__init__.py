"""Every SQL statement, a module for each thing that has rows.

A statement selects the fields of the object that it makes, by name and in their order. Columns
beside them are unpacked by name. ``[row] = tx.all(…)`` is a statement that always gives one row.
"""
