"""The WSGI application: ``gunicorn -c gunicorn.conf.py wsgi:app``, ``flask --app wsgi …``."""

import os
import sys

from aurora_blobs.app import create_app
from aurora_blobs.config import Config, ConfigError

try:
    app = create_app(Config.from_environ(os.environ))
except ConfigError as error:
    sys.exit(f"aurora_blobs: {error}")
