"""Uploads under way have so many bytes: those of an account, and all together."""

import io
from contextlib import ExitStack

import pytest
from support.accounts import ALICE, BOB
from support.cids import cid_of

from aurora_blobs.errors import RateLimitExceeded, ServiceBusy
from aurora_blobs.intake.spool import IN_MEMORY, spooled
from aurora_blobs.intake.spool_budget import SpoolBudget, no_budget


def budget(*, per_account=0, total=0, threads=10):
    return SpoolBudget(per_account=per_account, total=total, threads=threads, parts=1)


def test_an_account_holds_so_many_bytes_at_once():
    both = budget(per_account=100)
    with both.share(ALICE) as first, both.share(ALICE) as second, both.share(BOB) as other:
        first.reserve(60)
        other.reserve(100)
        second.reserve(40)

        with pytest.raises(RateLimitExceeded, match="No more than 100 bytes of one account"):
            second.reserve(41)


def test_all_together_hold_so_many_bytes_at_once():
    both = budget(total=100)
    with both.share(ALICE) as first, both.share(BOB) as second:
        first.reserve(60)
        with pytest.raises(ServiceBusy, match="No more than 100 bytes are taken at once"):
            second.reserve(41)


def test_what_is_over_is_given_back():
    both = budget(per_account=100, total=100)
    for _ in range(100):
        with both.share(ALICE) as share:
            share.reserve(60)
            with both.share(ALICE) as refused, pytest.raises(RateLimitExceeded):
                refused.reserve(60)

    with both.share(BOB) as share:
        share.reserve(100)
    assert both.tally.sum() == 0


def test_an_upload_that_is_alone_is_as_large_as_it_may_be():
    both = budget(per_account=100, total=100)
    with both.share(ALICE) as share:
        share.reserve(50)
        share.reserve(1000)
        assert both.tally.sum() == 1000


def test_no_more_uploads_are_counted_than_there_are_threads():
    small = budget(total=100, threads=1)
    with small.share(ALICE) as first, small.share(BOB) as second:
        first.reserve(1)
        with pytest.raises(ServiceBusy):
            second.reserve(1)


def test_without_a_budget_nothing_is_refused():
    """An embedding may have more threads than anybody has counted."""
    unlimited = no_budget()

    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(unlimited.share(ALICE)).reserve(2**60)


@pytest.mark.parametrize("size", [IN_MEMORY, IN_MEMORY + 1, 20 * IN_MEMORY + 1])
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "chunked"])
def test_a_body_reserves_what_it_takes_before_it_takes_it(spool_folder, size, is_declared):
    taken, reserved = [0], [IN_MEMORY]
    data = bytes(size)

    with spooled(
        io.BytesIO(data),
        folder=spool_folder,
        inspect=lambda head: "test/fake",
        max_bytes=30 * IN_MEMORY,
        declared_size=size if is_declared else None,
        watch=lambda piece: taken.append(taken[-1] + len(piece)) or check(taken, reserved),
        reserve=reserved.append,
    ) as blob:
        assert blob.cid == cid_of(data)
    assert max(reserved) <= 30 * IN_MEMORY
    assert reserved == sorted(set(reserved))


def check(taken, reserved):
    assert taken[-1] <= reserved[-1]


def test_a_body_that_may_not_take_more_leaves_nothing(spool_folder):
    def refuse(size):
        if size > 3 * IN_MEMORY:
            raise RateLimitExceeded(5)

    with (
        pytest.raises(RateLimitExceeded),
        spooled(
            io.BytesIO(bytes(5 * IN_MEMORY)),
            folder=spool_folder,
            inspect=lambda head: "test/fake",
            max_bytes=30 * IN_MEMORY,
            declared_size=None,
            reserve=refuse,
        ),
    ):
        pytest.fail("the block ran")

    assert list(spool_folder.iterdir()) == []
