"""The changes of a tree, undone on the nodes that a commit brings, lead to the tree before."""

import random

import pytest
from support.car_files import Car

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.car_index import missing_block
from aurora_blobs.protocol.tree import Tree


def tree_of(records):
    """The root of the tree of *records*, a CID by key, and all of its nodes."""
    car = Car()
    return car.tree(sorted(records.items())), car.blocks


def reader(blocks):
    def read(cid):
        if cid not in blocks:
            raise missing_block(cid)
        return blocks[cid]

    return read


def changed(chosen, records):
    """Some changes of *records*: the new ones, and the operations (key, new CID, CID before)."""
    after, operations = dict(records), []
    for _ in range(chosen.randint(1, 12)):
        key = f"com.example.file/{chosen.randrange(400):04}".encode()
        if any(key == done for done, _, _ in operations):
            continue
        before = records.get(key)
        new = None if before and chosen.random() < 0.6 else value_of(chosen.random())
        operations.append((key, new, before))
        if new is None:
            del after[key]
        else:
            after[key] = new
    return after, operations


def value_of(number):
    return Car().add({"n": str(number)})


def undo(tree, operations):
    for key, new, before in operations:
        if new is None:
            tree.insert(key, before)
        elif before is None:
            tree.remove(key, new)
        else:
            tree.replace(key, new, before)


@pytest.mark.parametrize("seed", [random.randrange(10**6) for _ in range(3)])
def test_all_changes_undone_are_the_tree_before(seed):
    print(f"{seed=}")
    chosen = random.Random(seed)
    records = {}
    for _ in range(150):
        after, operations = changed(chosen, records)
        root_before, _ = tree_of(records)
        root_after, blocks = tree_of(after)
        tree = Tree(root_after, reader(blocks))

        undo(tree, operations)

        assert tree.root() == root_before
        records = after if chosen.random() < 0.97 else {}


def test_a_change_that_is_not_told_shows():
    before = {b"com.example.file/1": value_of(1), b"com.example.file/2": value_of(2)}
    after = {b"com.example.file/1": value_of(1), b"com.example.file/3": value_of(3)}
    root_after, blocks = tree_of(after)
    tree = Tree(root_after, reader(blocks))

    tree.remove(b"com.example.file/3", value_of(3))

    assert tree.root() != tree_of(before)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.remove(b"com.example.file/9", value_of(9)),
        lambda tree: tree.remove(b"com.example.file/1", value_of(9)),
        lambda tree: tree.replace(b"com.example.file/9", value_of(1), value_of(9)),
        lambda tree: tree.insert(b"com.example.file/1", value_of(1)),
    ],
    ids=["removed, not there", "another value", "replaced, not there", "inserted, there"],
)
def test_an_operation_that_does_not_fit_is_refused(change):
    root, blocks = tree_of({b"com.example.file/1": value_of(1)})

    with pytest.raises(ValueError):
        change(Tree(root, reader(blocks)))


def test_a_node_that_is_not_here_is_named():
    records = {f"com.example.file/{number}".encode(): value_of(number) for number in range(100)}
    root, blocks = tree_of(records)
    tree = Tree(root, reader({root: blocks[root]}))

    with pytest.raises(InvalidRequest, match="missing block"):
        for key, value in records.items():
            tree.remove(key, value)


def test_the_lowest_layer_has_no_nodes_below_it():
    car = Car()
    leaf = car.tree([(b"com.example.file/1", value_of(1))], layer=0)
    root = car.add(
        {"l": leaf, "e": [{"p": 0, "k": b"com.example.file/2", "v": value_of(2), "t": None}]}
    )
    tree = Tree(root, reader(car.blocks))

    with pytest.raises(ValueError, match="below its lowest layer"):
        tree.insert(b"com.example.file/10", value_of(3))
