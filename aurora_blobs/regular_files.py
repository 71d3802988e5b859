"""Opens files that somebody else has put in their place."""

import errno
import os
import stat
from typing import BinaryIO

# Opening a FIFO would wait for somebody who writes to it, and a terminal could become ours.
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NotRegular(OSError):
    """Something else than a regular file: a folder, a FIFO, a device."""


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = True) -> BinaryIO:
    """The regular file *path*, to be read. Nothing else is waited for or read.

    Raises NotRegular, OSError.
    """
    descriptor = os.open(path, READ if follow_links else READ | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")
