"""The application in a checkout, for ``gunicorn -c gunicorn.conf.py wsgi:app`` and ``flask``."""

from aurora_blobs.wsgi import app as app
