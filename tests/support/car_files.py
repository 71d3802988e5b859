"""CAR files for tests: a repository of records as another server would export it, or its blocks one by one."""

import io
from hashlib import sha256

import libipld
from support.accounts import ALICE
from support.cids import binary_cid_of

IMPORT = "/xrpc/com.atproto.repo.importRepo"
CAR = "application/vnd.ipld.car"


def reference(data, mime_type="image/jpeg"):
    """A record's blob of *data*, as a block has it."""
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
    """In which layer of the tree *key* is: the leading zero bits of its digest, by twos."""
    digest = int.from_bytes(sha256(key).digest(), "big")
    return (256 - digest.bit_length()) // 2


class Car:
    """Blocks in the order they are added; `file` gives the CAR of them."""

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
        """The tree of *entries*, sorted (key, CID) pairs; its CID, None for nothing."""
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
        """The root of a repository of *records*, (collection/rkey) to value, CIDs in it as bytes."""
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
