"""Edits parsed YAML and keeps its comments and field order."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.tokens import CommentToken


def dump(documents: Sequence[Any]) -> str:
    """The documents with `---` between them, lines never folded."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    text = io.StringIO()
    yaml.dump_all(documents, text)
    return text.getvalue()


def heading(text: str) -> str:
    """The comments above a first `---`, which the parser ignores."""
    lines = text.splitlines(keepends=True)
    above = next((number for number, line in enumerate(lines) if line.startswith("---")), 0)
    passed = lines[:above]
    return "".join(passed) if all(not line.strip() or line.startswith("#") for line in passed) else ""


def rename(holder: CommentedMap, old: str, new: str) -> None:
    """Rename a field; it keeps its position, comments and line number."""
    place = list(holder).index(old)
    value = holder.pop(old)
    comment, line = holder.ca.items.pop(old, None), (holder.lc.data or {}).pop(old, None)
    holder.insert(place, new, value)
    if comment is not None:
        holder.ca.items[new] = comment
    if line is not None:
        holder.lc.data[new] = line


def remove(holder: CommentedMap, key: Any) -> None:
    """Remove a field and the comment after it."""
    del holder[key]
    holder.ca.items.pop(key, None)


def is_merged(holder: CommentedMap, key: Any) -> bool:
    """Whether a field comes from another mapping, by `<<`."""
    merged = (
        entry[1] if isinstance(entry, tuple) else entry for entry in holder.merge
    )  # older ruamel keeps pairs
    return any(key in mapping for mapping in merged)


def line_of(document: Any, path: Sequence[str | int]) -> int:
    """The line, counted from 1, of the deepest part of `path` in the document."""
    line: int = document.lc.line
    for part in path:
        if not hasattr(document, "lc") or not document.lc.data or part not in document.lc.data:
            break
        line = document.lc.data[part][0]
        document = document[part]
    return line + 1


def comments(node: Any) -> Iterator[str]:
    """Every comment in a document, one per line, in undefined order."""
    if not isinstance(node, CommentedMap | CommentedSeq):
        return
    yield from _comment_lines([node.ca.comment, node.ca.end, *node.ca.items.values()])
    for item in node.values() if isinstance(node, CommentedMap) else node:
        yield from comments(item)


def _comment_lines(tokens: Any) -> Iterator[str]:
    if isinstance(tokens, CommentToken):
        lines = (line.strip() for line in tokens.value.splitlines())
        yield from (line for line in lines if line)
    elif isinstance(tokens, list):
        for token in tokens:
            yield from _comment_lines(token)
