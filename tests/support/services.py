"""What an application has inside."""


def services_of(app):
    """The `Services` of *app*."""
    return app.extensions["aurora_blobs"]
