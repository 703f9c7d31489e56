"""`vmferry discard`: an import that nobody goes on with leaves nothing, here or in the cluster."""

from __future__ import annotations

import asyncio
import os
import shutil

from controller.local.cluster_target import AIM, Aim, connect
from controller.local.imports import take
from controller.local.process import Launcher
from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from steps.runtime.stop import Stop
from workflows.stages import stage_named
from workflows.status.nodes import Phase, phase_of


def discard(rundir: RunDir) -> list[str]:
    """Delete what the import made and its notes; returns what is gone.

    Raises:
        StepError: CONFLICT for an import that is done; BUSY while somebody works on it; what the API says.
    """
    if phase_of(rundir.load()) is Phase.SUCCEEDED:
        raise StepError(
            Exit.CONFLICT,
            f"the import in {rundir.root} is done",
            "what it made is in use",
            "delete it by hand",
        )
    lock = take(rundir)
    try:
        if not phase_of(rundir.load()).fulfilled and rundir.credentials.exists():
            cleanup = Launcher(rundir, lock).run(stage_named("cleanup"), None, lambda *_: None)
            asyncio.run(cleanup)  # its runner was killed before it could; what it left is in its log
        gone = _in_cluster(rundir) if (rundir.notes / AIM).exists() else []
        return [*gone, *_here(rundir)]
    finally:
        os.close(lock)


def _in_cluster(rundir: RunDir) -> list[str]:
    from steps.targets.harvester.discarding import discard as discard_in  # noqa: PLC0415 - as in `connect`

    return discard_in(Plan.load(rundir.request / PLAN), connect(Aim.load(rundir.notes / AIM)), Stop())


def _here(rundir: RunDir) -> list[str]:
    """The notes, and the disks that had arrived; the folder itself when nothing else is in it."""
    disks = (rundir.notes / "published").glob("*.json")
    files = [file for disk in disks for file in rundir.root.glob(f"{disk.stem}.*")]
    for file in [*files, rundir.state]:
        file.unlink(missing_ok=True)
    shutil.rmtree(rundir.notes)
    if not any(rundir.root.iterdir()):
        rundir.root.rmdir()
    return [*map(str, files), str(rundir.notes)]
