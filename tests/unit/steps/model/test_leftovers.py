from __future__ import annotations

import json

import pytest

from steps.model import leftovers


@pytest.mark.parametrize("left", [[], ["a"], ["image i-1 (active) in use", "größer"]])
def test_what_is_written_is_read(left: list[str]) -> None:
    assert leftovers.from_text(leftovers.to_text(left)) == tuple(left)


@pytest.mark.parametrize(
    "text", ["", "null", "{}", '"a"', "[1]", '["a", null]', "[", "x", "[" * 100_000, '{"left": []}']
)
def test_anything_else_is_unknown_and_never_clean(text: str) -> None:
    assert leftovers.from_text(text) is None


def test_unknown_is_written_as_unknown() -> None:
    assert leftovers.from_text(leftovers.to_text(None)) is None


def test_a_long_list_is_cut_and_counted() -> None:
    read = leftovers.from_text(leftovers.to_text([f"image {number}" for number in range(1000)]))
    assert read is not None
    assert (len(read), read[-1]) == (leftovers.MOST, f"and {1000 - leftovers.MOST + 1} more")


def test_foreign_text_is_short_and_cannot_control_a_terminal() -> None:
    text = leftovers.to_text(["\x1b[2J{{workflow.name}}" + "x" * 10_000])
    assert "{{" not in text, "Argo would replace it"
    (read,) = leftovers.from_text(text) or ()
    assert len(read) <= leftovers.LONGEST + 1
    assert read.isprintable()
    assert leftovers.from_text(json.dumps(["a\nb\x07"])) == ("a b\N{REPLACEMENT CHARACTER}",)
