"""While a canary runs, two answers side by side compare it with production; which is which, the vote tells."""

from __future__ import annotations

from playwright.sync_api import expect

from serving.canary.count import score_of
from serving.registry import Registry
from tests.browser.conftest import NewPage
from tests.browser.talk import ask, button, completions, is_over, judgements, wait_for
from tests.serving.canary.versions import NEW, begin, publish
from tests.serving.conftest import Running

# The half that compares; the sides, and the names of exchanges, are then always the same.
_NO_CHANCE = "() => { crypto.getRandomValues = (array) => array.fill(0); }"


def test_a_vote_on_a_canary_and_production_is_blind_and_counts(
    gateway: Running, new_page: NewPage
) -> None:
    publish(gateway)
    begin(gateway)
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Two answers, side by side").check()
    page.evaluate(_NO_CHANCE)
    ask(page, "which of you is better")
    is_over(page)
    assert {event.version for event in completions(gateway)} == {"policy-0000", NEW}
    article = page.locator("article").last
    assert "policy-0" not in article.inner_text()
    expect(article.get_by_text("Which model answered?")).to_have_count(0)
    button(page, "A is better").click()
    said = page.locator(".said")
    expect(said).to_contain_text("A was written by")
    expect(said).to_contain_text(NEW)
    wait_for(lambda: len(judgements(gateway)) == 1)
    (vote,) = judgements(gateway)
    canary = Registry(gateway.redis).snapshot().canary
    assert canary is not None
    about = {event.id: event for event in completions(gateway)}
    left = about[vote.body["a"]["completion_id"]]
    assert score_of(vote, about, canary=canary) == float(left.version == NEW)
    for thumb in article.get_by_role("button", name="Good answer").all():
        thumb.click()
    wait_for(lambda: len(judgements(gateway)) == 3)
    assert {said.completion_ids[0] for said in judgements(gateway)[1:]} == set(about)


def test_without_a_canary_one_version_answers_twice(gateway: Running, new_page: NewPage) -> None:
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Two answers, side by side").check()
    page.evaluate(_NO_CHANCE)
    ask(page, "hello")
    is_over(page)
    (event,) = completions(gateway)
    assert len(event.choices) == 2
    button(page, "Tie").click()
    expect(page.locator(".said")).to_contain_text("Both were written by policy-0000")
