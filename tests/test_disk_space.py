"""The reserve of disk space, on a disk that is not full."""

import pytest

from aurora_blobs.disk_space import DiskSpace, Spend
from aurora_blobs.errors import InsufficientStorage

MIB = 2**20


@pytest.fixture
def open_space(tmp_path):
    def open_space(size_bytes):
        return DiskSpace([(tmp_path / "reserve", tmp_path)], size_bytes)

    return open_space


def held(tmp_path):
    """The bytes on the disk of the reserve's files."""
    return sum(path.stat().st_blocks * 512 for path in (tmp_path / "reserve").iterdir())


def test_the_reserve_takes_its_space(open_space, tmp_path):
    space = open_space(MIB)

    space.prepare()

    assert held(tmp_path) == MIB
    assert space.is_whole()


def test_without_a_reserve_nothing_is_made_or_refused(open_space, tmp_path):
    space = open_space(0)

    space.prepare()
    space.require()
    space.make_room(Spend.ALL)

    assert not (tmp_path / "reserve").exists()


def test_a_reserve_of_another_size_is_made_anew(open_space, tmp_path):
    open_space(MIB).prepare()

    open_space(2 * MIB).prepare()

    assert held(tmp_path) == 2 * MIB


def test_nothing_is_given_up_while_there_is_space(open_space, tmp_path):
    space = open_space(MIB)
    space.prepare()

    space.make_room(Spend.ALL)

    assert held(tmp_path) == MIB


def test_what_is_missing_is_made_again(open_space, tmp_path):
    space = open_space(MIB)
    space.prepare()
    (tmp_path / "reserve" / "00").unlink()

    space.require()

    assert held(tmp_path) == MIB


def test_a_reserve_larger_than_the_disk_is_never_whole(open_space, tmp_path):
    space = open_space(2**60)

    space.prepare()

    with pytest.raises(InsufficientStorage):
        space.require()
    assert list((tmp_path / "reserve").iterdir()) == []


def test_nothing_is_made_or_refused_where_the_disk_is_not_mounted(tmp_path):
    space = DiskSpace([(tmp_path / "reserve", tmp_path / "not mounted")], MIB)

    space.require()

    assert list(tmp_path.iterdir()) == []
