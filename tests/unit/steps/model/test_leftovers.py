"""What is left at a source: certain only if the source said so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.leftovers import (
    LONGEST,
    MOST,
    NOTHING_REPORTED,
    Leftovers,
    from_output,
    not_asked,
    to_output,
)


def test_an_empty_list_is_clean() -> None:
    assert to_output([]) == "[]"
    assert from_output("[]") == Leftovers()
    assert from_output("[]").is_clean


def test_something_left_is_not_clean() -> None:
    found = from_output(to_output(["a snapshot"]))
    assert (found.texts, found.is_known, found.is_clean) == (("a snapshot",), True, False)


@pytest.mark.parametrize(
    "text",
    [NOTHING_REPORTED, not_asked("no answer"), "", "{}", "null", "[1]", "[null]", '"[]"', "[", "[" * 100_000],
    ids=lambda text: text[:20],
)
def test_anything_else_leaves_it_unknown(text: str) -> None:
    found = from_output(text)
    assert not found.is_known
    assert not found.is_clean


@given(st.lists(st.text()))
def test_the_result_is_short_and_printable(left: list[str]) -> None:
    texts = json.loads(to_output(left))
    assert len(texts) <= MOST + 1
    assert all(len(text) <= LONGEST and text.isprintable() for text in texts)
    assert bool(texts) is bool(left)


def test_more_texts_are_counted() -> None:
    assert json.loads(to_output(["x"] * (MOST + 3)))[-1] == "and 3 more"
