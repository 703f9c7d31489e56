"""The stand-in of Harvester's webhook refuses the same as the real one (tests/real/harvester), with its
texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from steps.model.contract import Exit
from tests.real.cluster.lab import Lab
from tests.real.harvester import refusals
from tests.real.harvester.refusals import REFUSED, Act, World, assert_refused
from tests.real.standins.lab import NoLabError
from tests.real.standins.process import lab as running_lab
from tests.real.standins.process import reserved, running

pytestmark = pytest.mark.lab

LEFT_OUT: Final = ("cpu_quota_at_start",)
PLAYED: Final = [row for row in REFUSED if row[0].__name__ not in LEFT_OUT]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        running_lab()
    except NoLabError as error:
        pytest.skip(str(error))
    found = Lab.start()
    with reserved(found.place), running(found.place, "--default-class", "--harvester", "played"):
        yield found


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    with refusals.world(lab) as made:
        yield made


@pytest.mark.parametrize(("act", "code", "words"), PLAYED, ids=[act.__name__ for act, _, _ in PLAYED])
def test_a_refusal_is_final_and_has_a_reason(world: World, act: Act, code: Exit, words: str) -> None:
    assert_refused(world, act, code, words)


def test_unusual_but_valid_objects_are_accepted(world: World) -> None:
    refusals.let_in(world)
