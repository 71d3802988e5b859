"""A collector with a grace time far below what the settings allow. As a process it never ends.

``python -m support.impatient_collector``, with the settings in the environment.
"""

import os
import time

from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.config import Config
from aurora_blobs.maintenance.collect import Collector

GRACE_SECONDS = 1


def collect(services, grace_seconds=GRACE_SECONDS):
    """Collect once."""
    collector = Collector(
        services.blobs.backend,
        services.database,
        spool=services.config.data_folder.spool,
        grace_seconds=grace_seconds,
        clock=services.clock,
    )
    return list(collector.run())


if __name__ == "__main__":
    app = create_app(Config.from_environ(os.environ))
    while True:
        collect(services_of(app))
        time.sleep(0.02)
