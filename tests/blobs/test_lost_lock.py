"""A remover whose lock is lost before its bytes go, on a disk and on a store like a network's."""

import pytest
from support.backends import MemoryBackend, OutsideTransactions
from support.lost_lock import LostLock


class Network(OutsideTransactions, MemoryBackend):
    stat_is_cheap = False


class TestDisk(LostLock):
    @pytest.fixture
    def core(self, open_core):
        return open_core()

    @pytest.fixture
    def damage(self, core):
        """What makes the bytes of an entry wrong, where it is True."""

        def write(entry):
            (core.backend.root / core.backend.path(entry.name)).write_bytes(b"two")

        return {True: write, False: lambda entry: None}

    def test_the_name_is_the_cid_again_after_a_removal_that_has_ended(self, core):
        core.upload(b"one")
        core.clock.advance(3601)
        list(core.collector(3600).run())

        entry = core.upload(b"one")

        assert entry.name == entry.cid


class TestNetwork(LostLock):
    @pytest.fixture
    def core(self, open_core):
        core = open_core(backend=Network())
        core.backend.database = core.database
        return core

    @pytest.fixture
    def damage(self, core):
        """What makes the bytes of an entry wrong, where it is True."""
        return {
            True: lambda entry: core.backend.held.update({entry.name: b"two"}),
            False: lambda entry: None,
        }

    def test_a_name_is_never_used_twice(self, core):
        names = set()
        for _ in range(3):
            names.add(core.upload(b"one").name)
            core.clock.advance(3601)
            list(core.collector(3600).run())

        assert len(names) == 3
        assert core.backend.held == {}
