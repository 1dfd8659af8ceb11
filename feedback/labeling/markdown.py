"""What a model or a person wrote, as HTML that can do nothing: no markup of its own, no pictures, no scripts.

1. CommonMark with tables; HTML in it is text.
2. Pictures become their description, tables and code scroll inside, headings fit below a card's.
3. nh3 lets through what is on a list, whatever step 1 made of it.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

# Longer than any answer. A parser has inputs on which its time is not linear: this bounds them.
MAX_PARSED = 40_000
_IN_CARD, _ON_PAGE = 3, 2  # the first heading: a page has h1, a card h2
_BLOCKS = ("p", "h2", "h3", "h4", "h5", "h6", "li", "blockquote", "td", "th", "ul", "ol", "pre")
_INLINE = ("a", "br", "code", "em", "hr", "s", "strong", "table", "tbody", "thead", "tr")
_CLEANER = nh3.Cleaner(
    tags={*_BLOCKS, *_INLINE, "div", "span"},
    attributes={
        "*": {"dir"},
        "a": {"href", "target", "title"},
        "div": {"class"},
        "ol": {"start"},
        "span": {"class"},
    },
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",  # a path would lead to pages of ours
)


def to_html(text: str) -> str:
    """Of an answer, line by line. A text beyond MAX_PARSED characters is shown as it is."""
    if len(text) > MAX_PARSED:
        return f'<pre dir="auto">{escapeHtml(text)}</pre>'
    return _CLEANER.clean(_answers.render(text, {"top_heading": _IN_CARD}))


def document_to_html(text: str) -> str:
    """Of a text that somebody wrote in an editor: lines flow together."""
    return _CLEANER.clean(_documents.render(text, {"top_heading": _ON_PAGE}))


def _set_directions(state: StateCore) -> None:
    """Every block finds its own direction, so that Arabic beside English reads rightly."""
    for token in state.tokens:
        if token.type.endswith("_open") and token.tag in _BLOCKS:
            token.attrSet("dir", "auto")


def _fit_headings(state: StateCore) -> None:
    """Below the heading of what it stands in, one step at a time, whatever numbers its author took."""
    above: list[tuple[int, int]] = []  # (as written, as shown) of the headings this one is under
    for token in state.tokens:
        if token.type == "heading_open":
            written = int(token.tag[1:])
            above = [pair for pair in above if pair[0] < written]
            shown = above[-1][1] + 1 if above else int(state.env["top_heading"])
            above.append((written, min(shown, 6)))
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{above[-1][1]}"


def _describe_picture(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    token = tokens[index]
    described = token.content or "without a description"
    source = str(token.attrGet("src") or "")[:200]
    return f'<span class="picture">picture: {escapeHtml(described)} · {escapeHtml(source)}</span>'


def _open_link(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    token = tokens[index]
    token.attrSet("target", "_blank")
    token.attrSet("title", str(token.attrGet("href") or ""))  # where it leads, not what it says
    return self.renderToken(tokens, index, options, env)


def _open_table(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    return '<div class="scroll"><table>'


def _close_table(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    return "</table></div>"


def _build_parser(*, keeps_lines: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": keeps_lines})
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.push("fit_headings", _fit_headings)
    parser.core.ruler.push("set_directions", _set_directions)
    parser.add_render_rule("image", _describe_picture)
    parser.add_render_rule("link_open", _open_link)
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    return parser


_answers, _documents = _build_parser(keeps_lines=True), _build_parser(keeps_lines=False)
