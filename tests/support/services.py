"""The parts of an application."""


def services_of(app):
    """The `Services` of *app*."""
    return app.extensions["aurora_blobs"]
