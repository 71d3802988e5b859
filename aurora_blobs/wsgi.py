"""The WSGI application `app`, made as the environment says."""

import os
import sys

from aurora_blobs import logs
from aurora_blobs.app import check_stores, create_app, create_command_app
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.errors import StoreNotOurs

try:
    _config = Config.from_environ(os.environ)
    logs.configure(_config.log_format, _config.log_level)
    if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        app = create_command_app(_config)
    else:
        app = create_app(_config)
        # A server must not start on another store. A command may: one of them puts that right.
        check_stores(app)
except (ConfigError, StoreNotOurs) as error:
    sys.exit(f"aurora_blobs: {error}")
