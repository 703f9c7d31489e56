"""How the parts of the controller's process are connected for checks."""

from __future__ import annotations

import threading

import pytest

from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.runner import IDLE_SECONDS
from controller.operator.main import POLL_AFTER_ERROR, _Process
from controller.operator.options import Options
from controller.operator.routing import ImportKey, SourceKey
from steps.model.kinds import IMPORT, POD, SOURCES, Kind
from steps.model.sources import SourceKind
from steps.runtime.stop import Stop
from tests.unit.controller.operator.sources.place import Place
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

VMWARE = SOURCES[SourceKind.VMWARE]


def process() -> _Process:
    return _Process(Options(), FakeCluster(), FakeCluster(), Stop())


@pytest.mark.parametrize("kind", [IMPORT, VMWARE])
def test_the_owner_of_a_check_is_requeued(kind: Kind) -> None:
    found = process()
    found._requeue(Owner(kind, "team", "x"))
    if kind == IMPORT:
        assert found._imports.take() == ImportKey("team", "x")
    else:
        assert found._sources.take() == SourceKey(VMWARE, "team", "x")


def test_a_poll_without_an_answer_is_repeated() -> None:
    found = process()
    assert found._poll() == IDLE_SECONDS
    cluster = found._cluster
    assert isinstance(cluster, FakeCluster)
    cluster.denied.add(("list", POD))
    assert found._poll() == POLL_AFTER_ERROR


def test_a_check_that_begins_ends_the_pause_between_polls() -> None:
    """Otherwise the first import after a quiet time waits for its source until the pause is over."""
    place = Place(answer=None)
    waiting = threading.Thread(target=place.checks.wait, args=(3600.0,), daemon=True)
    waiting.start()
    place.look(1)
    waiting.join(60)
    assert not waiting.is_alive()
