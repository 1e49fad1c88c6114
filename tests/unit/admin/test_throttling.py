"""The rate of failures that is accepted."""

from trimtab_admin.access.throttling import FailureLimit, Throttled, network


def test_failures_over_the_rate_are_delayed_until_they_are_within_it_again() -> None:
    failures = FailureLimit(per_minute=3)
    assert [failures.count(["a"], 0) for _ in range(3)] == [None] * 3
    delay = failures.count(["a"], 0)
    assert delay is not None
    assert delay.seconds == 20
    assert failures.count(["a"], 20) is None


def test_the_first_failure_over_the_rate_is_marked() -> None:
    failures = FailureLimit(per_minute=1)
    delays = [failures.count(["a"], now) for now in (0, 1, 2, 60, 61)]
    assert [delay and delay.is_first for delay in delays] == [None, True, False, None, True]


def test_a_bucket_holds_at_most_the_failures_of_one_minute() -> None:
    failures = FailureLimit(per_minute=2)
    failures.count(["a"], 0)
    delays = [failures.count(["a"], 1_000_000) for _ in range(3)]
    assert [delay is None for delay in delays] == [True, True, False]


def test_keys_are_counted_separately_and_the_longest_delay_applies() -> None:
    failures = FailureLimit(per_minute=1)
    assert failures.count(["a"], 0) is None
    assert failures.count(["b"], 0) is None
    assert failures.count(["c", "a"], 0) is not None


def test_memory_is_bounded() -> None:
    failures = FailureLimit(per_minute=1)
    for number in range(20_000):
        failures.count([f"{number}"], 0)
    assert len(failures._buckets) == 10_000
    # What failed last is remembered.
    assert failures.count(["19999"], 0) is not None
    assert failures.count(["0"], 0) is None


def test_a_throttled_caller_learns_when_to_try_again_in_whole_seconds() -> None:
    error = Throttled(19.2)
    assert (error.delay_seconds, error.code.http_status) == (20, 429)
    assert str(error) == "too many calls were refused; try again in 20 s"


def test_an_ipv6_address_counts_as_its_network() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") == "2001:db8::/64"
    assert network("10.0.0.1") == "10.0.0.1"
    assert network("not an address") == "not an address"
