"""The list of imports covers every pair of the values that differ. No lab is needed."""

from __future__ import annotations

from dataclasses import astuple

from tests.real.virt.cases import CASES, VALUES, pairs_missing


def test_few_imports_cover_every_pair() -> None:
    assert pairs_missing() == set()
    assert len(CASES) <= 13  # each takes minutes


def test_each_value_is_one_that_the_list_knows() -> None:
    for case in CASES.values():
        for value, known in zip(astuple(case), VALUES, strict=True):
            assert value in known
