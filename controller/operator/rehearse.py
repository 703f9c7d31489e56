"""Carries a dry run out: preflight as a child process, which changes nothing anywhere."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from controller.operator import belongings
from controller.operator.acts import Rehearse
from controller.operator.options import Options
from controller.operator.rehearsal import HASH, pages, planned, refused
from steps.cluster import Cluster, Object
from steps.contract import TERMINATION_LOG_ENV, Exit, StepError, is_retryable
from steps.document import write_atomically
from steps.machine import Machine
from steps.plan import Plan
from steps.program import MACHINE, PLAN
from workflows import names
from workflows.api import VirtualMachineImport
from workflows.reported import ImportStatus, PlannedReference

SECONDS: Final = 120.0
"""How long a look at the machine may take."""
WORDS: Final = "words"


def rehearse(
    cluster: Cluster,
    options: Options,
    act: Rehearse,
    before: ImportStatus,
    import_: VirtualMachineImport,
    now: datetime,
) -> ImportStatus:
    """The status after a dry run; the plan goes to a ConfigMap of the release namespace.

    Raises:
        StepError: where the source does not answer, which is worth another try.
    """
    generation = import_.metadata.generation
    try:
        found = pages(act.plan, examined(act.plan, act.credentials))
    except StepError as error:
        if is_retryable(error.code):
            raise
        return refused(before, str(error), generation, now)
    name = names.planned(act.plan.run)
    cluster.apply(_page(act.plan, name, found, options.namespace))
    reference = PlannedReference(config_map=f"{options.namespace}/{name}", hash=found[HASH])
    return planned(before, reference, generation, now)


def examined(plan: Plan, credentials: Mapping[str, str], seconds: float = SECONDS) -> Machine:
    """The machine at its source. Raises StepError, with preflight's last words."""
    with tempfile.TemporaryDirectory(prefix="vmferry-rehearsal-") as name:  # 0700
        folder = Path(name)
        secret = folder / "credentials"
        secret.mkdir(mode=0o700)
        for key, value in credentials.items():
            (secret / key).write_bytes(base64.b64decode(value))
        write_atomically(folder / PLAN, plan.to_json())
        return _looked(folder, seconds)


def _looked(folder: Path, seconds: float) -> Machine:
    places = ("request", "scratch", "outputs")
    options = [part for place in places for part in (f"--{place}", str(folder))]
    command = [
        sys.executable,
        "-m",
        "steps.preflight",
        *options,
        "--credentials",
        str(folder / "credentials"),
    ]
    words = folder / WORDS
    words.touch()
    environment = {"PATH": "/usr/bin:/bin", TERMINATION_LOG_ENV: str(words)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            timeout=seconds,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        why = f"nothing within {seconds:g} s"
        raise StepError(Exit.UNREACHABLE, "the source did not answer", why) from None
    if done.returncode:
        code = Exit(done.returncode) if done.returncode in list(Exit) else Exit.INTERNAL
        raise StepError(code, words.read_text(encoding="utf-8").strip() or f"preflight ended with {code}")
    return Machine.load(folder / MACHINE)


def _page(plan: Plan, name: str, data: Mapping[str, str], namespace: str) -> Object:
    made = belongings.request(plan, "", namespace)
    del made["metadata"]["annotations"]
    made["metadata"]["name"] = name
    return made | {"data": dict(data)}
