"""A collector with a grace time far below what the settings allow.

``python -m support.impatient_collector PAUSE`` with the settings in the environment never ends, and
takes *PAUSE* seconds between two rounds. Without a pause it is one round, which takes all.
"""

import os
import sys
import time
from contextlib import suppress

from support.services import services_of

from aurora_blobs.app import create_app
from aurora_blobs.config import Config
from aurora_blobs.errors import STORE_AWAY
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
    services = services_of(create_app(Config.from_environ(os.environ)))
    if len(sys.argv) == 1:
        collect(services, grace_seconds=0)
    while len(sys.argv) > 1:
        with suppress(*STORE_AWAY):
            collect(services)
        time.sleep(float(sys.argv[1]))
