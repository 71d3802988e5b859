"""The parts of an application."""


def services_of(app):
    """The `Services` of *app*."""
    return app.extensions["aurora_blobs"]


def close(app):
    """Close what *app* has opened."""
    services = services_of(app)
    services.thumbnails.close()
    services.database.close()
