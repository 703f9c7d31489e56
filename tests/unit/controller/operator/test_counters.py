"""Counters for alerts: imports that end, checks of sources."""

from __future__ import annotations

from controller.operator.cache import StatusCache
from controller.operator.checkpods.runner import CheckPods
from controller.operator.metrics import Collector
from controller.operator.options import Options
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from workflows.api.status import ImportPhase, ImportStatus

KEY = ("default", "web")
RUNNING = ImportStatus(import_status=ImportPhase.SOURCE_READY)
FAILED = ImportStatus(import_status=ImportPhase.FAILED)
DONE = ImportStatus(import_status=ImportPhase.RUNNING)
INVALID = ImportStatus(import_status=ImportPhase.INVALID)


def values(cache: StatusCache) -> dict[str, float]:
    """The samples of the counters, by name and label."""
    found = Collector(cache, [], dict, CheckPods(FakeCluster(), Options())).collect()
    samples = [sample for metric in found for sample in metric.samples if sample.name.endswith("_total")]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_each_end_of_an_import_counts_once() -> None:
    cache = StatusCache(lambda: None)
    for status in (RUNNING, FAILED, FAILED, RUNNING, FAILED, RUNNING, DONE, DONE):
        cache.put(KEY, status)
    cache.put(("default", "other"), RUNNING)
    cache.put(("default", "other"), INVALID)
    made = values(cache)
    assert made["vmferry_imports_ended_total failed"] == 2
    assert made["vmferry_imports_ended_total succeeded"] == 1
    assert made["vmferry_imports_ended_total invalid"] == 1


def test_imports_that_ended_before_the_start_do_not_count() -> None:
    cache = StatusCache(lambda: None)
    cache.put(KEY, FAILED)
    assert values(cache)["vmferry_imports_ended_total failed"] == 0


def test_checks_of_sources_count_with_their_time() -> None:
    cache = StatusCache(lambda: None)
    cache.counters.see_check(ready=True, seconds=1.5)
    cache.counters.see_check(ready=False, seconds=60)
    made = values(cache)
    assert made["vmferry_source_checks_total ready"] == 1
    assert made["vmferry_source_checks_total notReady"] == 1
    assert made["vmferry_source_check_seconds_total"] == 61.5
