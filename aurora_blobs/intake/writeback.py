"""Writeback: the kernel starts to write a part of a file to the disk, and nobody waits for it."""

import ctypes

_WRITE = 2  # SYNC_FILE_RANGE_WRITE in <fcntl.h>
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def start_writeback(file: int, offset: int, size: int) -> None:
    """Start to write *size* bytes of the descriptor *file*, from *offset* on, to the disk.

    Promises no durability. Does nothing where the system has no such call.
    """
    if _sync_file_range is not None:
        _sync_file_range(file, offset, size, _WRITE)
