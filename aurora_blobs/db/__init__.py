"""The database seam: transactions of plain SQL. Each engine has a module."""

from pathlib import Path

from aurora_blobs.db.sqlite import SCHEMA_VERSION as SCHEMA_VERSION
from aurora_blobs.db.sqlite import STEP_BYTES as STEP_BYTES
from aurora_blobs.db.sqlite import STEP_ROWS as STEP_ROWS
from aurora_blobs.db.sqlite import Database as Database
from aurora_blobs.db.sqlite import Row as Row
from aurora_blobs.db.sqlite import Transaction as Transaction
from aurora_blobs.db.sqlite import disk_space as disk_space
from aurora_blobs.db.sqlite import is_there as is_there
from aurora_blobs.db.sqlite import no_hook as no_hook
from aurora_blobs.db.sqlite import open_database as open_database

SCHEMA = Path(__file__).parents[1] / "schema.sql"
