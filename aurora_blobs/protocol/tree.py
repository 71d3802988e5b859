"""The tree of a repository of which only some nodes are here, changed key by key.

A commit comes with the nodes that its changes touch. Undone one by one on the new tree, all of the
changes lead to the old one: then they are all that was changed.

https://atproto.com/specs/repository#mst-structure
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aurora_blobs.protocol.car import node_items
from aurora_blobs.protocol.car_index import parse_node
from aurora_blobs.protocol.dag_cbor import cid_bytes_of_block, encode_raw

Read = Callable[[bytes], bytes]


@dataclass(slots=True)
class _Node:
    """A node: *children* are one more than *keys*, around them; each a CID until it is read."""

    layer: int
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    children: "list[_Subtree]" = field(default_factory=lambda: [None])


_Subtree = _Node | bytes | None


class Tree:
    """The tree of the CID *root*. *read* gives the block of a CID, and raises InvalidRequest.

    All methods raise InvalidRequest for a node that is not here, ValueError for a wrong tree.
    """

    def __init__(self, root: bytes, read: Read) -> None:
        self._read = read
        node = self._parsed(root, layer=0)
        if node.keys:
            node.layer = _layer_of(node.keys[0])
        elif node.children != [None]:
            raise ValueError("the root of the tree has no keys")
        self._root = node

    def remove(self, key: bytes, value: bytes) -> None:
        """Take *key* out, which must have *value*."""
        node, at = self._found(key, value)
        merged = self._merged(node.children[at], node.children[at + 1], node.layer - 1)
        del node.keys[at], node.values[at]
        node.children[at : at + 2] = [merged]

    def replace(self, key: bytes, value: bytes, by: bytes) -> None:
        """Give *key*, which must have *value*, the value *by*."""
        node, at = self._found(key, value)
        node.values[at] = by

    def insert(self, key: bytes, value: bytes) -> None:
        """Put *key* in, which must not be there."""
        layer = _layer_of(key)
        if not self._root.keys and self._root.children == [None]:
            self._root.layer = layer
        if layer > self._root.layer:
            top = self._root.layer
            left, right = self._split(self._root, key, top)
            self._root = _Node(
                layer,
                [key],
                [value],
                [_raised(left, top, layer - 1), _raised(right, top, layer - 1)],
            )
            return
        node = self._root
        while node.layer > layer:
            at = bisect_left(node.keys, key)
            if node.children[at] is None:
                new = _Node(layer, [key], [value], [None, None])
                node.children[at] = _raised(new, layer, node.layer - 1)
                return
            node = self._child(node, at)
        at = bisect_left(node.keys, key)
        if node.keys[at : at + 1] == [key]:
            raise ValueError("a key that was deleted is in the tree")
        left, right = self._split(node.children[at], key, layer - 1)
        node.keys.insert(at, key)
        node.values.insert(at, value)
        node.children[at : at + 1] = [left, right]

    def root(self) -> bytes:
        """The CID of the tree as it is now."""
        node = self._root
        while not node.keys and node.children[0] is not None:
            node = self._child(node, 0)
        return _cid_of(node) or _cid_of_node(_Node(0))

    def _found(self, key: bytes, value: bytes) -> tuple[_Node, int]:
        node, layer = self._root, _layer_of(key)
        while node.layer > layer:
            node = self._child(node, bisect_left(node.keys, key))
        at = bisect_left(node.keys, key)
        if node.layer != layer or node.keys[at : at + 1] != [key] or node.values[at] != value:
            raise ValueError("a key is not in the tree as the commit says")
        return node, at

    def _child(self, node: _Node, at: int) -> _Node:
        child = self._loaded(node.children[at], node.layer - 1)
        if child is None:
            raise ValueError("a key is not in the tree as the commit says")
        node.children[at] = child
        return child

    def _loaded(self, subtree: _Subtree, layer: int) -> _Node | None:
        return self._parsed(subtree, layer) if isinstance(subtree, bytes) else subtree

    def _parsed(self, cid: bytes, layer: int) -> _Node:
        if layer < 0:
            raise ValueError("the tree has nodes below its lowest layer")
        node = _Node(layer)
        for item in node_items(parse_node(self._read(cid), "tree")):
            if isinstance(item, tuple):
                node.keys.append(item[0])
                node.values.append(item[1])
                node.children.append(None)
            else:
                node.children[-1] = item
        return node

    def _merged(self, left: _Subtree, right: _Subtree, layer: int) -> _Subtree:
        if left is None or right is None:
            return right if left is None else left
        first, second = self._loaded(left, layer), self._loaded(right, layer)
        assert first is not None and second is not None
        middle = self._merged(first.children[-1], second.children[0], layer - 1)
        return _Node(
            layer,
            first.keys + second.keys,
            first.values + second.values,
            [*first.children[:-1], middle, *second.children[1:]],
        )

    def _split(self, subtree: _Subtree, key: bytes, layer: int) -> tuple[_Subtree, _Subtree]:
        node = self._loaded(subtree, layer)
        if node is None:
            return None, None
        at = bisect_left(node.keys, key)
        low, high = self._split(node.children[at], key, layer - 1)
        left = _Node(layer, node.keys[:at], node.values[:at], [*node.children[:at], low])
        right = _Node(layer, node.keys[at:], node.values[at:], [high, *node.children[at + 1 :]])
        return _kept(left), _kept(right)


def _kept(node: _Node) -> _Subtree:
    """*node*, None if nothing is in it."""
    return node if node.keys or node.children[0] is not None else None


def _raised(subtree: _Subtree, layer: int, to: int) -> _Subtree:
    """*subtree*, of *layer*, below as many nodes without keys as lead up to the layer *to*."""
    if subtree is not None:
        for above in range(layer + 1, to + 1):
            subtree = _Node(above, [], [], [subtree])
    return subtree


def _cid_of(subtree: _Subtree) -> bytes | None:
    if not isinstance(subtree, _Node):
        return subtree
    children = [_cid_of(child) for child in subtree.children]
    if not subtree.keys and children == [None]:
        return None
    return _cid_of_node(_Node(subtree.layer, subtree.keys, subtree.values, list(children)))


def _cid_of_node(node: _Node) -> bytes:
    entries: list[dict[str, Any]] = []
    last = b""
    for key, value, child in zip(node.keys, node.values, node.children[1:], strict=True):
        shared = _shared(last, key)
        entries.append({"p": shared, "k": key[shared:], "v": value, "t": child})
        last = key
    return cid_bytes_of_block(encode_raw({"l": node.children[0], "e": entries}))


def _shared(first: bytes, second: bytes) -> int:
    """How many bytes the two begin with alike."""
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)


def _layer_of(key: bytes) -> int:
    """Half the leading zero bits of its digest."""
    return (256 - int.from_bytes(sha256(key).digest()).bit_length()) // 2
