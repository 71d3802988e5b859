"""The parts of an application."""

import threading


def services_of(app):
    """The `Services` of *app*."""
    return app.extensions["aurora_blobs"]


def close(app):
    """Close what *app* has opened."""
    services = services_of(app)
    for thread in threading.enumerate():
        if thread.name == "survey":  # of its metrics: it gives its connection back at the end
            thread.join()
    services.thumbnails.close()
    services.database.close()
