"""How often failures are let through."""

from trimtab_admin.access.tries import Tries, network


def test_failures_over_the_rate_are_put_off_until_there_is_room_again() -> None:
    tries = Tries(per_minute=3)
    assert [tries.failed(["a"], 0) for _ in range(3)] == [None] * 3
    delay = tries.failed(["a"], 0)
    assert delay is not None
    assert delay.seconds == 20
    assert tries.failed(["a"], 20) is None


def test_only_the_first_failure_too_many_is_worth_telling() -> None:
    tries = Tries(per_minute=1)
    delays = [tries.failed(["a"], now) for now in (0, 1, 2, 60, 61)]
    assert [delay and delay.first for delay in delays] == [None, True, False, None, True]


def test_a_bucket_holds_no_more_than_a_minute() -> None:
    tries = Tries(per_minute=2)
    tries.failed(["a"], 0)
    delays = [tries.failed(["a"], 1_000_000) for _ in range(3)]
    assert [delay is None for delay in delays] == [True, True, False]


def test_keys_are_counted_apart_and_the_slowest_decides() -> None:
    tries = Tries(per_minute=1)
    assert tries.failed(["a"], 0) is None
    assert tries.failed(["b"], 0) is None
    assert tries.failed(["c", "a"], 0) is not None


def test_memory_is_bounded() -> None:
    tries = Tries(per_minute=1)
    for number in range(20_000):
        tries.failed([f"{number}"], 0)
    assert len(tries._buckets) == 10_000


def test_an_address_of_ipv6_stands_for_its_network() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") == "2001:db8::/64"
    assert network("10.0.0.1") == "10.0.0.1"
    assert network("not an address") == "not an address"
