"""A full disk, without filling one."""

import resource
from contextlib import contextmanager


@contextmanager
def max_file_size(size):
    """In the block no file of this process can grow past *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
