"""How long others wait for a lock of a node that has lost its database.

``python -m support.cluster.lost_holder FOLDER cut|deafen``, in the namespaces of `network.ALONE`,
prints the seconds.
"""

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from support.cluster.network import Machine, ip
from support.cluster.nodes import let_everybody_in, postgresql
from support.ports import free_port

from aurora_blobs.db import account_key, open_database

KEYS = (account_key("did:web:alice.test"),)
_HOLD = """
import sys, time
from aurora_blobs.db import open_database
from support.cluster.lost_holder import KEYS
with open_database(sys.argv[1], durable=False).write(keys=KEYS):
    print("has it", flush=True)
    time.sleep(60)
"""


def seconds_until_free(folder: Path, trouble: str) -> float:
    ip("link", "set", "lo", "up")
    machine, port = Machine(1), free_port()
    server = postgresql(folder / "postgresql", port)
    server.make()
    let_everybody_in(server)
    server.start()
    address = machine.address_beyond("database")
    holder = subprocess.Popen(
        [*machine.prefix, sys.executable, "-c", _HOLD, _url(address, port)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"has it\n"
    getattr(machine, trouble)("database")
    began = time.monotonic()
    try:
        with (
            closing(open_database(_url("127.0.0.1", port), durable=False)) as database,
            database.write(keys=KEYS),
        ):
            return time.monotonic() - began
    finally:
        holder.kill()
        server.stop()


def _url(address: str, port: int) -> str:
    return f"postgresql://postgres@{address}:{port}/postgres"


if __name__ == "__main__":
    print(f"{seconds_until_free(Path(sys.argv[1]), sys.argv[2]):.1f}")
