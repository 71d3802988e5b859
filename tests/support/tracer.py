"""A forked child whose changes of files are seen one by one. It can be stopped or killed at any.

Linux's ptrace, by ctypes. The child has one thread.
"""

import ctypes
import errno
import os
import pickle
import platform
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_TRACESYSGOOD, _EXITKILL = 0x1, 0x100000
_ENTRY = 1  # in ptrace's answer: the call is about to happen
_ALL_CHILDREN = 0x40000000  # __WALL
_AT_CWD = -100

_X86_64 = """
    open 2 creat 85 openat 257 write 1 pwrite 18 writev 20 pwritev 296 pwritev2 328 ftruncate 77
    truncate 76 fallocate 285 link 86 linkat 265 symlink 88 symlinkat 266 rename 82 renameat 264
    renameat2 316 unlink 87 unlinkat 263 mkdir 83 mkdirat 258 rmdir 84 fsync 74 fdatasync 75
    sendfile 40 copy_file_range 326 flock 73
"""
_AARCH64 = """
    openat 56 write 64 pwrite 68 writev 66 pwritev 70 pwritev2 287 ftruncate 46 truncate 45
    fallocate 47 linkat 37 symlinkat 36 renameat 38 renameat2 276 unlinkat 35 mkdirat 34 fsync 82
    fdatasync 83 sendfile 71 copy_file_range 285 flock 32
"""
_words = {"x86_64": _X86_64, "aarch64": _AARCH64}[platform.machine()].split()
_NUMBERS = dict(zip(_words[::2], map(int, _words[1::2]), strict=True))

# Where a call has its paths among its arguments: the folder's descriptor, or None, and the path.
_ONE, _ONE_AT = [(None, 0)], [(0, 1)]
_TWO, _TWO_AT = [(None, 0), (None, 1)], [(0, 1), (2, 3)]
_PATHS: dict[str, list[tuple[int | None, int]]] = {
    **dict.fromkeys(["open", "creat", "truncate", "unlink", "mkdir", "rmdir"], _ONE),
    **dict.fromkeys(["openat", "unlinkat", "mkdirat"], _ONE_AT),
    **dict.fromkeys(["link", "rename"], _TWO),
    **dict.fromkeys(["linkat", "renameat", "renameat2"], _TWO_AT),
    "symlink": [(None, 1)],
    "symlinkat": [(1, 2)],
}
_WRITTEN = {"sendfile": 0, "copy_file_range": 2}  # the descriptor that is written, if not the first

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass
class Call:
    """A system call that changes a file, or puts it on the disk. It has the older of its names.

    `paths` are absolute. `inode` and `offset` are of the file that is written or synced. `data` is
    what is written, or a symbolic link's text. `size` is a new size, `result` what it returned.

    An open that makes a file is an "open", one that empties a file is an "empty".
    """

    name: str
    paths: list[str]
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    size: int = 0
    result: int = 0

    def __str__(self) -> str:
        return f"{self.name} {' '.join(self.paths)}"


class Child:
    """Runs `body(self)` in a fork, which changes files below *folder* only while we let it."""

    def __init__(
        self,
        body: Callable[["Child"], object],
        folder: Path,
        *,
        locks: bool = False,
        happened: Callable[[Call], object] = lambda call: None,
    ) -> None:
        """*happened* gets each call that has succeeded. With *locks* a flock is a call too."""
        self.answers: list[object] = []  # what the body has told
        self.has_ended = False
        self._folder = f"{folder}/"
        self._happened = happened
        self._names = {number: name for name, number in _NUMBERS.items()}
        if not locks:
            del self._names[_NUMBERS["flock"]]
        self._begun: Call | None = None
        self._pipe, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._pipe = write_end
            self._be_the_child(body)
        os.close(write_end)
        os.waitpid(self._pid, 0)
        _ptrace(_SETOPTIONS, self._pid, 0, _TRACESYSGOOD | _EXITKILL)

    def _be_the_child(self, body: Callable[["Child"], object]) -> None:
        status = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            body(self)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def tell(self, answer: object) -> None:
        """Called by the body: the parent knows *answer*, and its `advance` returns."""
        os.write(self._pipe, pickle.dumps(answer))
        os.kill(os.getpid(), signal.SIGSTOP)

    def advance(self, seconds: float = 60) -> Call | None:
        """Let it run until it stands before its next call, which is returned.

        None where it has told something, or has ended. Raises TimeoutError after *seconds*, in
        which it waits for somebody.
        """
        with _alarm(seconds):
            while True:
                _ptrace(_SYSCALL, self._pid)
                _, status = os.waitpid(self._pid, _ALL_CHILDREN)
                if os.WIFEXITED(status):
                    self._close()
                    assert os.WEXITSTATUS(status) == 0, "the child failed; its traceback is above"
                    return None
                assert os.WIFSTOPPED(status), f"the child was killed: signal {os.WTERMSIG(status)}"
                if os.WSTOPSIG(status) == signal.SIGSTOP:
                    self.answers.append(pickle.loads(os.read(self._pipe, 1 << 16)))
                    return None
                assert os.WSTOPSIG(status) == signal.SIGTRAP | 0x80, os.WSTOPSIG(status)
                if self._is_at_a_call():
                    return self._begun

    def kill(self) -> None:
        """End it before the call at which it stands."""
        if not self.has_ended:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, _ALL_CHILDREN)
            self._close()

    def _close(self) -> None:
        self.has_ended = True
        os.close(self._pipe)

    def _is_at_a_call(self) -> bool:
        info = _SyscallInfo()
        _ptrace(_GET_SYSCALL_INFO, self._pid, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == _ENTRY:
            name = self._names.get(info.number)
            self._begun = None if name is None else self._call(name, list(info.arguments))
            return self._begun is not None
        if self._begun is not None:
            call, self._begun = self._begun, None
            call.result = ctypes.c_int64(info.number).value
            if call.result >= 0:
                if call.name == "open":
                    call.inode = os.stat(f"/proc/{self._pid}/fd/{call.result}").st_ino
                self._happened(call)
        return False

    def _call(self, name: str, arguments: list[int]) -> Call | None:
        """The call, or None where it changes nothing below the folder."""
        if name not in _PATHS:
            return self._call_of_descriptor(name, arguments)
        paths = [
            self._path(None if folder is None else arguments[folder], arguments[place])
            for folder, place in _PATHS[name]
        ]
        if not any(path.startswith(self._folder) for path in paths):
            return None
        if name in ("open", "openat", "creat"):
            flags = os.O_CREAT | os.O_TRUNC
            if name != "creat":
                flags = arguments[1 if name == "open" else 2]
            if flags & os.O_CREAT and not os.path.lexists(paths[0]):
                return Call("open", paths)
            return Call("empty", paths) if flags & os.O_TRUNC else None
        if name == "unlinkat" and arguments[2]:
            return Call("rmdir", paths)
        plain = name.removesuffix("2").removesuffix("at")
        if plain == "mkdir" and os.path.lexists(paths[0]):
            return None
        assert plain != "truncate", "truncate is not known here"
        return Call(plain, paths, data=self._text(arguments[0]) if plain == "symlink" else b"")

    def _call_of_descriptor(self, name: str, arguments: list[int]) -> Call | None:
        descriptor = arguments[_WRITTEN.get(name, 0)]
        link = f"/proc/{self._pid}/fd/{descriptor}"
        try:
            path, status = os.readlink(link), os.stat(link)
        except OSError:
            return None
        if not f"{path}/".startswith(self._folder):
            return None
        call = Call(name, [path], inode=status.st_ino)
        if name == "write":
            call.offset = self._position(descriptor, status)
            call.data = self._memory(arguments[1], arguments[2])
        elif name == "pwrite":
            call.offset = arguments[3]
            call.data = self._memory(arguments[1], arguments[2])
        elif name == "ftruncate":
            call.size = arguments[1]
        elif name == "fallocate":
            assert arguments[1] == 0, "this kind of fallocate is not known here"
            call.size = arguments[2] + arguments[3]
        else:
            assert name in ("fsync", "fdatasync", "flock"), f"{name} is not known here"
        return call

    def _position(self, descriptor: int, status: os.stat_result) -> int:
        lines = Path(f"/proc/{self._pid}/fdinfo/{descriptor}").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        return status.st_size if int(facts["flags"], 8) & os.O_APPEND else int(facts["pos"])

    def _path(self, folder: int | None, address: int) -> str:
        path = os.fsdecode(self._text(address))
        if not path.startswith("/"):
            at = _AT_CWD if folder is None else ctypes.c_int32(folder & 0xFFFFFFFF).value
            base = "cwd" if at == _AT_CWD else f"fd/{at}"
            path = f"{os.readlink(f'/proc/{self._pid}/{base}')}/{path}"
        return os.path.normpath(path)

    def _text(self, address: int) -> bytes:
        text = b""
        while b"\0" not in text:
            # To the end of a page: the next may not be there.
            start = address + len(text)
            text += self._memory(start, 4096 - start % 4096)
        return text.partition(b"\0")[0]

    def _memory(self, address: int, size: int) -> bytes:
        with open(f"/proc/{self._pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            data = b""
            while len(data) < size:
                data += memory.read(size - len(data)) or b""
            return data


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after *seconds*."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _SyscallInfo(ctypes.Structure):
    # `number` is the call's at its entry, and its result at its exit.
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
        ("more", ctypes.c_uint64),
    )


def refuse_hard_links() -> None:
    """Take hard links from this process, as a file system does that has none. For a child alone."""
    numbers = [_NUMBERS[name] for name in ("link", "linkat") if name in _NUMBERS]
    load, jump_if_equal, end_with = 0x20, 0x15, 0x06  # BPF
    code = [(load, 0, 0, 0)]
    code += [(jump_if_equal, len(numbers) - n, 0, number) for n, number in enumerate(numbers)]
    code += [(end_with, 0, 0, 0x7FFF0000), (end_with, 0, 0, 0x00050000 | errno.EPERM)]
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(code), ctypes.addressof(steps))
    )
    no_new_privileges, seccomp, with_filter = 38, 22, 2
    _prctl(no_new_privileges, 1, 0)
    _prctl(seccomp, with_filter, ctypes.addressof(program))


def _prctl(option: int, argument: int, address: int) -> None:
    if _libc.prctl(option, argument, ctypes.c_void_p(address), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
