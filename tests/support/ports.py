"""Free ports on loopback."""

import random
import socket

GRPC_OFFSET = 10_000  # SeaweedFS also listens this far above each port


def free_port() -> int:
    """A free port, below the range from which the kernel gives ports to clients."""
    return next(port for port in random.sample(range(12_000, 32_000), 2_000) if is_free(port))


def free_ports(count: int) -> list[int]:
    """Free ports whose gRPC ports are free too, below the kernel's range for clients."""
    chosen: list[int] = []
    for port in random.sample(range(12_000, 22_000), 2_000):
        if is_free(port) and is_free(port + GRPC_OFFSET):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
