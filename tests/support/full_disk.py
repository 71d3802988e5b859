"""A disk that takes no more."""

import resource
from contextlib import contextmanager


@contextmanager
def max_file_size(size):
    """Let this process write no file past *size* bytes: a full disk, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
