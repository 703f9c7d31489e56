"""IDs that are not unique: nothing is replaced, nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import Exit, StepError
from steps.model.unique import Index, index, same_object

Pair = tuple[str, int]


def made(*pairs: Pair) -> Index[str, Pair]:
    return index(pairs, lambda pair: pair[0], what="disks with the id", where="web.ovf")


def test_an_item_is_found_by_its_id() -> None:
    found = made(("a", 1), ("b", 2))
    assert (found.find("a"), found.find("c"), "b" in found, "c" in found) == (("a", 1), None, True, False)
    assert (list(found), len(found)) == ([("a", 1), ("b", 2)], 2)


def test_two_different_items_with_one_id_are_ambiguous() -> None:
    found = made(("a", 1), ("b", 2), ("a", 3))
    with pytest.raises(StepError) as caught:
        found.find("a")
    assert caught.value.code is Exit.AMBIGUOUS
    assert "web.ovf has 2 different disks with the id 'a'" in str(caught.value)
    with pytest.raises(StepError):
        found.check()
    assert (found.certain("a"), found.certain("b"), found.certain("c")) == (None, ("b", 2), None)
    assert found.find("b") == ("b", 2)
    assert list(found) == [("a", 1), ("b", 2), ("a", 3)]


def test_an_item_listed_twice_is_one_item() -> None:
    found = made(("a", 1), ("a", 1))
    found.check()
    assert (found.find("a"), list(found)) == (("a", 1), [("a", 1)])


def test_items_with_the_same_service_id_are_one_object() -> None:
    pairs = [("a", 1), ("a", 2)]
    found = index(pairs, lambda pair: pair[0], what="volumes", where="the server", alike=same_object)
    assert (found.find("a"), list(found)) == (("a", 1), [("a", 1)])


def test_items_without_an_id_are_kept_and_never_found() -> None:
    found = made(("", 1), ("", 1), ("", 2))
    found.check()
    assert (found.find(""), len(found)) == (None, 3)


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 2))))
def test_no_item_is_lost(pairs: list[Pair]) -> None:
    found = made(*pairs)
    assert set(found) == set(pairs)
    for key, value in pairs:
        same = {pair for pair in pairs if pair[0] == key}
        if not key:
            continue
        if len(same) == 1:
            assert found.find(key) == (key, value)
        else:
            with pytest.raises(StepError):
                found.find(key)
