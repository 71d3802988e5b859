"""The production server in a checkout: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from aurora_blobs.gunicorn_conf import *  # noqa: F403
