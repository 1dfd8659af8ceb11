from __future__ import annotations

from feedback.snapshots.judged import Mentioned, draw_of


def test_every_completion_that_was_mentioned_is_known_and_hardly_any_other() -> None:
    mentioned = Mentioned()
    for number in range(100_000):
        mentioned.add(f"chatcmpl-{number}")
    assert all(f"chatcmpl-{number}" in mentioned for number in range(100_000))
    wrong = sum(f"chatcmpl-{number}" in mentioned for number in range(200_000, 300_000))
    assert wrong < 500  # one in a thousand


def test_a_draw_is_the_same_in_every_process() -> None:
    assert draw_of("fbk_1") == draw_of("fbk_1") == 2070599621859235401
    assert draw_of("fbk_1") != draw_of("fbk_2")
