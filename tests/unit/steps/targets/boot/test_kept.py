"""The screenshot and the console are kept with the import, and go with it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import CONFIG_MAP
from steps.targets.cluster.boot.kept import ConfigMapKeeper, FolderKeeper
from tests.unit.builders import a_plan
from tests.unit.steps.targets.boot.guests import PNG
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

PLAN = a_plan()


def cluster_with_request() -> FakeCluster:
    cluster = FakeCluster()
    metadata = {"name": names.request(PLAN.run), "namespace": "vmferry", "uid": "request"}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return cluster


def test_both_boots_are_in_one_config_map_that_goes_with_the_request() -> None:
    cluster = cluster_with_request()
    keeper = ConfigMapKeeper(cluster, PLAN, "vmferry")
    where = keeper.keep("built", "in the initramfs", PNG)
    assert where == f"ConfigMap vmferry/{names.boot(PLAN.run)}"
    assert keeper.keep("sata", "web login: ", b"") == where
    kept = cluster.peek(CONFIG_MAP, names.boot(PLAN.run), "vmferry")
    assert kept is not None
    assert kept["data"] == {"console-built.txt": "in the initramfs", "console-sata.txt": "web login: "}
    assert base64.b64decode(kept["binaryData"]["screen-built.png"]) == PNG
    assert kept["metadata"]["labels"] == names.run_labels(PLAN)
    cluster.drop(CONFIG_MAP, names.request(PLAN.run), "vmferry")
    assert cluster.all(CONFIG_MAP, "vmferry") == []


def test_another_try_replaces_what_was_kept() -> None:
    cluster = cluster_with_request()
    keeper = ConfigMapKeeper(cluster, PLAN, "vmferry")
    keeper.keep("built", "first", PNG)
    keeper.keep("built", "second", PNG + b"2")
    (kept,) = [one for one in cluster.all(CONFIG_MAP, "vmferry") if "data" in one]
    assert kept["data"] == {"console-built.txt": "second"}


def test_nothing_is_kept_for_a_deleted_import_or_without_evidence() -> None:
    cluster = FakeCluster()
    assert ConfigMapKeeper(cluster, PLAN, "vmferry").keep("built", "text", PNG) == ""
    assert ConfigMapKeeper(cluster_with_request(), PLAN, "vmferry").keep("built", "", b"") == ""
    assert cluster.writes() == []


def test_the_config_map_of_another_import_is_not_changed() -> None:
    cluster = cluster_with_request()
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.boot(PLAN.run), "namespace": "vmferry"},
            "data": {"theirs": "yes"},
        }
    )
    with pytest.raises(StepError, match="already exists"):
        ConfigMapKeeper(cluster, PLAN, "vmferry").keep("built", "text", PNG)


def test_a_folder_keeps_files(tmp_path: Path) -> None:
    where = FolderKeeper(tmp_path).keep("built", "in the initramfs", PNG)
    folder = Path(where)
    assert (folder / "console-built.txt").read_text() == "in the initramfs\n"
    assert (folder / "screen-built.png").read_bytes() == PNG
    assert FolderKeeper(tmp_path / "other").keep("built", "", b"") == ""
    assert not (tmp_path / "other").exists()
