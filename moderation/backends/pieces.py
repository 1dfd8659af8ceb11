"""A long text in pieces that fit a model, without its tokenizer at hand. Pure."""

from __future__ import annotations

from collections.abc import Iterator

# Of UTF-8: English has 4 to 5 and Chinese 3 to a token. A piece that is denser still is truncated by
# the model's server, at its end only.
_BYTES_PER_TOKEN = 3
_OVERLAP = 8  # a piece begins with this part of the one before, so that nothing hides on the border


def pieces(text: str, *, max_tokens: int) -> list[str]:
    """The text, or overlapping parts of it; at least one."""
    limit = max(64, max_tokens * _BYTES_PER_TOKEN)
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return [text]
    return list(_cut(text, limit=limit))


def _cut(text: str, *, limit: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end, size = start, 0
        while end < len(text) and size < limit - 3:
            size += len(text[end].encode())
            end += 1
        yield text[start:end]
        if end == len(text):
            return
        start = max(start + 1, end - (end - start) // _OVERLAP)
