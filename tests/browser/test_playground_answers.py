"""What a model writes, in the playground: harmful, huge, from right to left."""

from __future__ import annotations

import pytest

from tests.browser.conftest import NewPage
from tests.browser.talk import PHONE, ask, is_over, scroll_width
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HOSTILE = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "![](https://evil.example/pixel.png)",
    "![alt](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[click](https://evil.example/steal)",
    '<a href="https://evil.example">x</a><iframe src="https://evil.example"></iframe>',
    "<style>body{display:none}</style><svg onload=alert(1)>",
    "```html\n<script>alert(1)</script>\n```",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "&lt;b&gt; <!-- <b> -->",
]
# What a model may write over and over, and lists in lists.
PIECES = (
    *("*", "a*", "*a ", "a_", "_a ", "a`", "`a``", "[", "![", "**a ", "[a](", "a~~", "\\"),
    *(">", "- ", "> - ", "- - - x", "#", "# #", "|", "a|b\n", "- a\n", "|-|\n"),
)
NESTED = ["\n".join(" " * 2 * i + "- a" for i in range(150)), "1. a\n\n   b\n" * 2_000]
_DRAW = """async (texts) => {
    const { Markdown } = await import("/playground/markdown.js");
    return texts.map((text) => {
        const began = performance.now();
        new Markdown(document.createElement("div")).finish(text);
        return performance.now() - began;
    });
}"""


# What models write, and the elements it becomes (without `dir`, `class` and the like).
WRITTEN = {
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "**bold** *slanted* __bold__ _slanted_ ~~gone~~": "<p><strong>bold</strong> <em>slanted</em> "
    "<strong>bold</strong> <em>slanted</em> <s>gone</s></p>",
    "***both*** 2 * 3 * 4 snake_case_name": "<p><strong><em>both</em></strong> 2 * 3 * 4 snake_case_name</p>",
    "**bold *both***": "<p><strong>bold <em>both</em></strong></p>",
    "`a * b` and ``x ` y``": "<p><code>a * b</code> and <code>x ` y</code></p>",
    r"\*plain\* a\b": r"<p>*plain* a\b</p>",
    "# One\n### Three\n## Two #": "<h3>One</h3><h4>Three</h4><h4>Two</h4>",
    "- a\n- b\n  - c\n- d": "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
    "3. a\n4. b\n   more": "<ol><li>a</li><li>b<br>more</li></ol>",
    "1. a\n\n2. b": "<ol><li><p>a</p></li><li>b</li></ol>",
    "text:\n- a": "<p>text:</p><ul><li>a</li></ul>",
    "> a\n> > b": "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>",
    "a\n\n---\n\nb": "<p>a</p><hr><p>b</p>",
    "|a|b|\n|:-|-:|\n|1|2|3|\n|4|": "<div><table><thead><tr><th>a</th><th>b</th></tr></thead>"
    "<tbody><tr><td>1</td><td>2</td></tr><tr><td>4</td></tr></tbody></table></div>",
    "[a](https://x.y)": "<p><span>a <span>(https://x.y)</span></span></p>",
    "![a](https://x.y)": "<p><span>Image: a <span>(https://x.y)</span></span></p>",
    "* * a": "<ul><li><ul><li>a</li></ul></li></ul>",
    "5 < 6 & 7": "<p>5 &lt; 6 &amp; 7</p>",
}
_BECOMES = """async (text) => {
    const { Markdown } = await import("/playground/markdown.js");
    const root = document.createElement("div");
    new Markdown(root).finish(text);
    return root.innerHTML.replace(/<(\\w+) [^>]*>/g, "<$1>");
}"""


def test_what_models_write_becomes_elements(gateway: Running, new_page: NewPage) -> None:
    page = new_page(gateway.url)
    assert {text: page.evaluate(_BECOMES, text) for text in WRITTEN} == WRITTEN


@pytest.mark.parametrize("count", [1, 2])
def test_markup_of_a_model_is_text_and_fetches_nothing(
    gateway: Running, engine: FakeEngine, new_page: NewPage, count: int
) -> None:
    # The page fixture fails at the end when a dialog opened or another server was asked.
    page = new_page(gateway.url)
    engine.says = "\n\n".join(HOSTILE)
    if count == 2:
        page.get_by_role("switch", name="Two answers").check()
    ask(page, "<img src=x onerror=alert(2)>")
    is_over(page)
    for place in (".prose", ".asked"):
        inside = (
            "script, img, a, iframe, style, object, [onerror], [onload], [style], [href], [src]"
        )
        assert page.locator(place).locator(inside).count() == 0
    text = page.locator(".prose").first.inner_text()
    for shown in ("<script>alert(1)</script>", "https://evil.example/pixel.png", "&lt;b&gt;"):
        assert shown in text
    assert "javascript:alert(1)" in text  # an address is shown, so that nobody is misled
    page.reload()
    is_over(page)
    assert page.locator(".prose script, .prose img, .prose a").count() == 0


def test_a_giant_table_and_a_long_line_scroll_inside_the_page(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url, **PHONE)
    row = "|" + "|".join(f" column number {i} " for i in range(40)) + "|"
    engine.says = (
        "\n".join([row, "|---" * 40 + "|", *[row] * 60]) + "\n\n```\n" + "x" * 3000 + "\n```"
    )
    ask(page, "w" * 500)
    is_over(page)
    assert scroll_width(page) == 390
    table = page.locator(".table")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth && e.scrollHeight > e.clientHeight")
    assert page.locator("tbody tr").count() == 60


def test_text_from_right_to_left_runs_from_right_to_left(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    engine.says = "مرحبا بالعالم\n\n- عنصر\n\nHello again\n\n`code`"
    ask(page, "שלום עולם")
    is_over(page)
    direction = "e => getComputedStyle(e).direction"
    assert page.locator(".prose p").nth(0).evaluate(direction) == "rtl"
    assert page.locator(".prose p").nth(1).evaluate(direction) == "ltr"
    assert page.locator(".prose li").evaluate(direction) == "rtl"
    assert page.locator(".asked .text").evaluate(direction) == "rtl"


def test_a_long_answer_keeps_the_paragraphs_it_has_and_what_is_nested_to_death_ends(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    paragraph = "A sentence of *some* length, with `code` and **more**. " * 4
    engine.says = "\n\n".join([paragraph] * 95)
    assert len(engine.says) > 20_000
    engine.chunk_delay_s = 0.001
    ask(page, "tell me everything")
    page.locator(".prose p").nth(1).wait_for()
    page.evaluate("window.kept = document.querySelector('.prose p')")
    is_over(page)
    assert page.locator(".prose p").count() == 95
    assert page.evaluate("window.kept.isConnected")
    times_ms = page.evaluate(_DRAW, [piece * (20_000 // len(piece)) for piece in PIECES] + NESTED)
    slow = {piece: ms for piece, ms in zip([*PIECES, *"ab"], times_ms, strict=True) if ms > 2_000}
    assert slow == {}  # some tens of ms on a quiet machine; what is quadratic takes minutes
