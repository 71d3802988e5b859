"""The record keys that the index makes."""


def test_keys_rise_even_while_the_clock_stands_still_or_is_set_back(core):
    keys = [core.records.new_key() for _ in range(1000)]
    core.clock.advance(-60)
    keys += [core.records.new_key() for _ in range(1000)]

    assert keys == sorted(set(keys))
