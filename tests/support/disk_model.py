"""What a disk may hold after a power failure: all that was synced, and any part of the rest.

A file's bytes are safe once the file was synced, a name once its folder was: POSIX promises no
more. The file systems of Linux do.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from support.tracer import Call

SECTOR = 512  # bytes that a disk writes whole or not at all


@dataclass
class Choice:
    """Of what is not synced: whether a name made by the call of a number is kept, or a sector.

    `in_order`: of names, those that were made first are kept first.
    """

    names: Callable[[int], bool]
    sectors: Callable[[int], bool]
    called: str
    in_order: bool = False

    def __str__(self) -> str:
        return self.called


ALL = Choice(lambda call: True, lambda call: True, "all", in_order=True)  # only a process died
NOTHING = Choice(lambda call: False, lambda call: False, "what is synced")
NAMES = Choice(lambda call: True, lambda call: False, "names without bytes", in_order=True)
BYTES = Choice(lambda call: False, lambda call: True, "bytes without names")


def some(seed: int) -> Choice:
    """Half of the names and half of the sectors."""
    chance = random.Random(seed)
    return Choice(
        lambda call: chance.random() < 0.5, lambda call: chance.random() < 0.5, f"some, seed {seed}"
    )


@dataclass
class _Write:
    call: int
    offset: int
    data: bytes

    def apply(self, content: bytearray, keep: Choice) -> None:
        for start in range(0, len(self.data), SECTOR):
            if keep.sectors(self.call):
                piece = self.data[start : start + SECTOR]
                begin, end = self.offset + start, self.offset + start + len(piece)
                content.extend(bytes(max(0, begin - len(content))))
                content[begin:end] = piece


@dataclass
class _Resize:
    """A new size, or *at_least* that."""

    call: int
    size: int
    at_least: bool = False

    def apply(self, content: bytearray, keep: Choice) -> None:
        if keep.names(self.call):
            content.extend(bytes(max(0, self.size - len(content))))
            if not self.at_least:
                del content[self.size :]


@dataclass(eq=False)
class File:
    synced: bytes = b""
    pending: list[_Write | _Resize] = field(default_factory=list)

    def content(self, keep: Choice) -> bytes:
        content = bytearray(self.synced)
        for change in self.pending:
            change.apply(content, keep)
        return bytes(content)


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    text: bytes


@dataclass(eq=False)
class Folder:
    synced: "dict[str, Node]" = field(default_factory=dict)
    pending: "list[tuple[int, dict[str, Node | None]]]" = field(default_factory=list)

    def names(self, keep: Choice) -> "dict[str, Node]":
        names: dict[str, Node | None] = dict(self.synced)
        for call, change in self.pending:
            if keep.names(call):
                names.update(change)
        return {name: node for name, node in names.items() if node is not None}


Node = File | Link | Folder


class Disk:
    """A folder as the kernel shows it, and as the disk has it.

    It begins with what *folder* holds, all of it on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._path = str(folder)
        self._by_inode: dict[int, File | Folder] = {}
        self._calls = 0
        self._journal = 0  # the last call that put all earlier names on a disk that has an order
        self._root = self._read(folder)

    def happened(self, call: Call) -> None:
        """Follow *call*, which is the latest."""
        self._calls += 1
        getattr(self, f"_{call.name}")(call)

    def in_order(self, seed: int) -> Choice:
        """The names up to a moment and none of later, as journals have it; half of the sectors."""
        chance = random.Random(seed)
        last = chance.randint(self._journal, self._calls)
        return Choice(
            lambda call: call <= last,
            lambda call: chance.random() < 0.5,
            f"names in order up to call {last}, seed {seed}",
            in_order=True,
        )

    def after_power_failure(self, keep: Choice) -> "State":
        return State(self._root, keep)

    def _open(self, call: Call) -> None:
        self._add(call.paths[0], File(), call.inode)

    def _mkdir(self, call: Call) -> None:
        self._add(call.paths[0], Folder(), os.stat(call.paths[0]).st_ino)

    def _symlink(self, call: Call) -> None:
        self._change(call.paths[0], Link(call.data))

    def _link(self, call: Call) -> None:
        self._change(call.paths[1], self._find(call.paths[0]))

    def _unlink(self, call: Call) -> None:
        self._change(call.paths[0], None)

    _rmdir = _unlink

    def _rename(self, call: Call) -> None:
        source, target = call.paths
        node = self._find(source)
        if node is self._find(target):
            return  # two names of one file: both stay
        folder, name = self._place(source)
        other, new_name = self._place(target)
        if folder is other:
            folder.pending.append((self._calls, {name: None, new_name: node}))
        else:
            self._change(source, None)
            self._change(target, node)

    def _write(self, call: Call) -> None:
        data = call.data[: call.result]
        self._file(call).pending.append(_Write(self._calls, call.offset, data))

    _pwrite = _write

    def _ftruncate(self, call: Call) -> None:
        self._file(call).pending.append(_Resize(self._calls, call.size))

    def _fallocate(self, call: Call) -> None:
        self._file(call).pending.append(_Resize(self._calls, call.size, at_least=True))

    def _empty(self, call: Call) -> None:
        file = self._find(call.paths[0])
        assert isinstance(file, File)
        file.pending.append(_Resize(self._calls, 0))

    def _fsync(self, call: Call) -> None:
        node = self._by_inode[call.inode]
        if isinstance(node, Folder):
            node.synced = node.names(ALL)
            self._journal = self._calls
        else:
            size = len(node.synced)
            node.synced = node.content(ALL)
            if len(node.synced) != size:
                self._journal = self._calls
        node.pending.clear()

    _fdatasync = _fsync

    def _flock(self, call: Call) -> None:
        pass

    def _file(self, call: Call) -> File:
        file = self._by_inode[call.inode]
        assert isinstance(file, File)
        return file

    def _add(self, path: str, node: File | Folder, inode: int) -> None:
        self._by_inode[inode] = node
        self._change(path, node)

    def _change(self, path: str, node: Node | None) -> None:
        folder, name = self._place(path)
        folder.pending.append((self._calls, {name: node}))

    def _place(self, path: str) -> tuple[Folder, str]:
        folder = self._find(os.path.dirname(path))
        assert isinstance(folder, Folder), path
        return folder, os.path.basename(path)

    def _find(self, path: str) -> Node | None:
        node: Node | None = self._root
        for part in os.path.relpath(path, self._path).split("/"):
            if part != "." and node is not None:
                assert isinstance(node, Folder), path
                node = node.names(ALL).get(part)
        return node

    def _read(self, path: Path) -> Node:
        if path.is_symlink():
            return Link(os.fsencode(os.readlink(path)))
        inode = path.stat().st_ino
        if inode not in self._by_inode:
            self._by_inode[inode] = (
                Folder({child.name: self._read(child) for child in path.iterdir()})
                if path.is_dir()
                else File(path.read_bytes())
            )
        return self._by_inode[inode]


class State:
    """What a power failure has left. Equal states have the same `digest`."""

    def __init__(self, root: Node, keep: Choice) -> None:
        assert isinstance(root, Folder)
        self._keep = keep
        self._contents: dict[int, bytes] = {}  # of each file, once for all of its names
        self._tree = self._chosen(root)
        self.digest = self._digest_of(self._tree)

    def write_to(self, folder: Path) -> None:
        """Make *folder*, with this in it."""
        self._write(self._tree, folder, {})

    def _chosen(self, folder: Folder) -> "dict[str, object]":
        tree: dict[str, object] = {}
        for name, node in sorted(folder.names(self._keep).items()):
            tree[name] = self._chosen(node) if isinstance(node, Folder) else node
            if isinstance(node, File) and id(node) not in self._contents:
                self._contents[id(node)] = node.content(self._keep)
        return tree

    def _digest_of(self, tree: "dict[str, object]") -> bytes:
        digest = sha256()
        for name, node in tree.items():
            digest.update(b"%d %b" % (len(name), name.encode()))
            if isinstance(node, dict):
                digest.update(b"/" + self._digest_of(node))
            elif isinstance(node, Link):
                digest.update(b"@" + node.text)
            elif not name.endswith("-shm"):  # SQLite makes it anew
                digest.update(sha256(self._contents[id(node)]).digest())
        return digest.digest()

    def _write(self, tree: "dict[str, object]", folder: Path, written: dict[int, Path]) -> None:
        folder.mkdir()
        for name, node in tree.items():
            path = folder / name
            if isinstance(node, dict):
                self._write(node, path, written)
            elif isinstance(node, Link):
                os.symlink(node.text, path)
            elif id(node) in written:
                os.link(written[id(node)], path)
            else:
                path.write_bytes(self._contents[id(node)])
                written[id(node)] = path
