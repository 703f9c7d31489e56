"""YAML from strangers: what is read, and that the rest ends soon with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.foreign_yaml import load, scalar


def test_a_document_is_read() -> None:
    assert load("a: [1, x]\nb: {c: true}\n") == {"a": [1, "x"], "b": {"c": True}}
    assert load("") is None


def test_aliases_are_read_only_where_they_are_wanted() -> None:
    text = "a: &a [x]\nb: *a\n"
    with pytest.raises(ValueError, match="aliases are not supported"):
        load(text)
    assert load(text, aliases=True) == {"a": ["x"], "b": ["x"]}
    with pytest.raises(ValueError, match="merge keys are not supported"):
        load("a: &a {x: 1}\nb:\n  <<: *a\n", aliases=True)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    ["a: [", "\0", "a: b: c", "- " * 40_000, "? " * 40_000, "!!python/object:os.system x", "%YAML 9\n---\n"],
)
@pytest.mark.parametrize("aliases", [False, True])
def test_what_is_no_document_is_an_error_with_a_word(text: str, aliases: bool) -> None:
    with pytest.raises(ValueError, match=r"^[A-Za-z]+Error$"):
        load(text, aliases=aliases)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (5, "5"), (0.5, "0.5"), (True, ""), (None, ""), (["a"], ""), ({}, ""), (1 << 90_000, "")],
    ids=["text", "number", "fraction", "flag", "null", "list", "mapping", "huge"],
)
def test_only_a_short_value_has_a_text(value: Any, text: str) -> None:
    assert scalar(value) == text
