"""`vmferry discard`: deletes an abandoned import, in its folder and in the cluster."""

from __future__ import annotations

import asyncio
import os
import shutil

from controller.local.cluster_target import TARGET, ClusterTarget, connect
from controller.local.imports import take_lock
from controller.local.process import Launcher
from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from steps.runtime.stop import Stop
from workflows.stages import RELEASE_SOURCE, stage_named
from workflows.status.nodes import Phase, phase_of


def discard(rundir: RunDir) -> list[str]:
    """Delete what the import created and its state; returns what was deleted.

    Raises:
        StepError: CONFLICT if the import has succeeded; BUSY if a process works on it; errors of the API.
    """
    if phase_of(rundir.load()) is Phase.SUCCEEDED:
        raise StepError(
            Exit.CONFLICT,
            f"cannot discard the import in {rundir.root}",
            "it has succeeded, and its result may be in use",
            "delete the result by hand",
        )
    lock = take_lock(rundir)
    try:
        if not phase_of(rundir.load()).fulfilled and rundir.credentials.exists():
            release = Launcher(rundir, lock).run(stage_named(RELEASE_SOURCE), None, lambda *_: None)
            asyncio.run(release)  # its killed runner did not do it; the log lists the leftovers
        deleted = _delete_in_cluster(rundir) if (rundir.notes / TARGET).exists() else []
        return [*deleted, *_delete_folder(rundir)]
    finally:
        os.close(lock)


def _delete_in_cluster(rundir: RunDir) -> list[str]:
    from steps.targets import object_kinds  # noqa: PLC0415
    from steps.targets.cluster.discard import discard as discard_in  # noqa: PLC0415 - as in `connect`

    plan = Plan.load(rundir.request / PLAN)
    cluster = connect(ClusterTarget.load(rundir.notes / TARGET))
    return discard_in(plan, cluster, Stop(), object_kinds(plan))


def _delete_folder(rundir: RunDir) -> list[str]:
    """Delete the state and the imported disks; the folder too if it is then empty."""
    disks = (rundir.notes / "published").glob("*.json")
    files = [file for disk in disks for file in rundir.root.glob(f"{disk.stem}.*")]
    for file in [*files, rundir.state]:
        file.unlink(missing_ok=True)
    shutil.rmtree(rundir.notes)
    if not any(rundir.root.iterdir()):
        rundir.root.rmdir()
    return [*map(str, files), str(rundir.notes)]
