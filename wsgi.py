"""The WSGI application: ``gunicorn -c gunicorn.conf.py wsgi:app``, ``flask --app wsgi …``."""

import os
import sys

from aurora_blobs.app import check_stores, create_app
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.errors import StoreNotOurs

try:
    app = create_app(Config.from_environ(os.environ))
    # A server must not start on another store. A command may: one of them puts that right.
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        check_stores(app)
except (ConfigError, StoreNotOurs) as error:
    sys.exit(f"aurora_blobs: {error}")
