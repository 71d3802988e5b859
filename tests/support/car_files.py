"""CAR files: a repository as another server exports it, or its blocks one by one."""

import io
from hashlib import sha256

import libipld
from support.accounts import ALICE
from support.cids import binary_cid_of

IMPORT = "/xrpc/com.atproto.repo.importRepo"
CAR = "application/vnd.ipld.car"


def reference(data, mime_type="image/jpeg"):
    """The reference to the blob *data* as a record's block has it: the CID in bytes."""
    return {
        "$type": "blob",
        "ref": binary_cid_of(data),
        "mimeType": mime_type,
        "size": len(data),
    }


def varint(number):
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def block_of(value):
    return libipld.encode_dag_cbor(value)


def cid_of_block(block):
    return b"\x01\x71\x12\x20" + sha256(block).digest()


def layer_of(key):
    """The layer of *key* in the tree: half the leading zero bits of its digest."""
    digest = int.from_bytes(sha256(key).digest(), "big")
    return (256 - digest.bit_length()) // 2


class Car:
    """Collects blocks in order; `file` makes a CAR of them."""

    def __init__(self):
        self.blocks = {}

    def add(self, value):
        block = block_of(value)
        cid = cid_of_block(block)
        self.blocks[cid] = block
        return cid

    def commit(self, data, did=ALICE):
        return self.add(
            {
                "did": did,
                "version": 3,
                "data": data,
                "rev": "3lqp4k5jls22x",
                "prev": None,
                "sig": b"\1" * 64,
            }
        )

    def tree(self, entries, layer=None):
        """Add the tree of *entries*, sorted (key, CID) pairs; its CID."""
        if layer is None:
            layer = max((layer_of(key) for key, _ in entries), default=0)
        groups, here = [[]], []
        for key, cid in entries:
            if layer_of(key) == layer:
                here.append((key, cid))
                groups.append([])
            else:
                groups[-1].append((key, cid))
        children = [self.tree(group, layer - 1) if group else None for group in groups]
        node, last = {"l": children[0], "e": []}, b""
        for (key, cid), child in zip(here, children[1:], strict=True):
            shared = 0
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
            node["e"].append({"p": shared, "k": key[shared:], "v": cid, "t": child})
            last = key
        return self.add(node)

    def repository(self, records, did=ALICE):
        """Add a repository of *records*, a dict of ``collection/rkey`` to value; its root CID.

        CIDs in a value are bytes.
        """
        entries = [(key.encode(), self.add(value)) for key, value in records.items()]
        return self.commit(self.tree(sorted(entries)), did)

    def file(self, *roots, version=1):
        header = block_of({"version": version, "roots": list(roots)})
        parts = [varint(len(header)) + header]
        parts += [varint(len(cid) + len(block)) + cid + block for cid, block in self.blocks.items()]
        return io.BytesIO(b"".join(parts))


def car_of(records, did=ALICE):
    car = Car()
    return car.file(car.repository(records, did))
