"""Addresses as servers and proxies write them, and what they are counted under."""

import pytest

from aurora_blobs.server.addresses import UNKNOWN, is_forwarded, is_local, network_of


@pytest.mark.parametrize(
    "address, network",
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_counts_without_its_port_and_an_ipv6_address_as_its_64_network(address, network):
    assert network_of(address) == network


@pytest.mark.parametrize(
    "address", ["unknown", "_hidden", "unix:", "1.2.3", "01.2.3.4", "1.2.3.4.5", "[", "x" * 9999]
)
def test_all_that_is_no_address_shares_one_count(address):
    assert network_of(address) == UNKNOWN
    assert not is_local(address)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "127.9.9.9:80", "::1", "[::1]:80", "::ffff:127.0.0.1"]
)
def test_this_machine_s_addresses_are_local(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "128.0.0.1", "::2", "127.0.0.1.example"])
def test_other_addresses_are_not_local(address):
    assert not is_local(address)


@pytest.mark.parametrize(
    "header, hops, expected",
    [
        ("", 1, False),
        (" ", 1, False),
        ("a", 1, True),
        ("a", 2, False),
        ("a, b", 2, True),
        (", b", 2, False),
        ("a, ", 1, False),
    ],
)
def test_a_request_is_forwarded_if_every_proxy_has_named_a_client(header, hops, expected):
    assert is_forwarded(header, hops) is expected
