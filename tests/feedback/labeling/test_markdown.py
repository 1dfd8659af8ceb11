"""What a model wrote, as HTML that can do nothing."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest

from feedback.labeling.markdown import MAX_PARSED, document_to_html, to_html


def test_markdown_is_rendered() -> None:
    html = to_html("**bold**\nnext line\n\n| a |\n|---|\n| ~~b~~ |\n\n```python\nx < 1\n```")
    assert '<p dir="auto"><strong>bold</strong><br>\nnext line</p>' in html
    assert '<div class="scroll"><table>' in html
    assert "<s>b</s>" in html
    assert "<pre><code>x &lt; 1\n</code></pre>" in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "`</code><script>`",
        "```\n</pre><script>\n```",
        "<style>*{display:none}</style>",
        "<a href='javascript:x'>y</a>",
        "<!-- --><svg onload=alert(1)>",
        "[a]: <javascript:x>\n\n[a]",
        "&lt;script&gt;",
    ],
)
def test_markup_of_its_own_is_text(text: str) -> None:
    tags = Tags()
    tags.feed(to_html(text))
    assert {name for name, _ in tags.found} <= {"p", "pre", "code", "br", "a"}
    assert {attribute for _, given in tags.found for attribute, _ in given} <= {"dir"}


class Tags(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


def test_links_say_where_they_lead_and_lead_only_outside() -> None:
    html = to_html(
        '[bank](https://evil.example "bank.example") [b](/label/leave) [c](data:x) [d](//e.f)'
    )
    assert re.findall('href="([^"]*)"', html) == ["https://evil.example"]
    assert 'title="https://evil.example"' in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_pictures_are_described_and_not_loaded() -> None:
    html = to_html("![a <b>cat</b>](https://e.example/cat.png)")
    assert "<img" not in html
    assert "picture: a &lt;b&gt;cat&lt;/b&gt; · https://e.example/cat.png" in html


def test_headings_fit_below_a_card_s_own_step_by_step() -> None:
    html = to_html("### A\n\n###### B\n\n### C\n\n# D\n\n## E")
    assert re.findall(r"<(h\d)", html) == ["h3", "h4", "h3", "h3", "h4"]
    assert re.findall(r"<(h\d)", document_to_html("## A\n\n### B\n\n## C")) == ["h2", "h3", "h2"]


def test_every_block_has_a_direction_of_its_own() -> None:
    assert to_html("hello\n\nمرحبا").count('<p dir="auto">') == 2


@pytest.mark.parametrize(
    "part", ["*a ", "[", ">", "`a ", "[a](b", "**a *b ", "![a](", "<a ", "| a "]
)
def test_hostile_repetition_takes_no_time_to_speak_of(part: str) -> None:
    started = time.process_time()
    to_html(part * (MAX_PARSED // len(part)))
    assert time.process_time() - started < 5


def test_a_text_beyond_measure_is_shown_as_it_is() -> None:
    html = to_html("*a* <b>" * MAX_PARSED)
    assert html.startswith('<pre dir="auto">*a* &lt;b&gt;')
