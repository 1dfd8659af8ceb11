from __future__ import annotations

from serving.breaker import Breaker


def test_an_engine_is_left_alone_after_failures_in_a_row_and_tried_by_one() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
    breaker.begin(1.0)  # the trial
    assert not breaker.allows(1.5)
    breaker.failed(1.6)
    assert not breaker.allows(3.5)  # the pause has doubled
    breaker.begin(3.7)
    breaker.succeeded()
    assert breaker.allows(3.7)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows(0.0)


def test_requests_that_fail_together_are_one_reason_for_a_pause() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed(0.0)
    assert breaker.allows(1.0)


def test_the_pause_has_an_end() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0)
    for _ in range(100):
        breaker.begin(0.0)
        breaker.failed(0.0)
    assert not breaker.allows(29.0)
    assert breaker.allows(30.0)
