"""Whether a source can be used: asked of it by a child process with a deadline, and told in its status.

A child, as a source's library may hang or leak, and the controller must do neither.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from controller.operator.options import Options
from controller.operator.whence import READY
from steps.contract import TERMINATION_LOG_ENV, Exit
from steps.plan import SourceKind
from steps.program import PLAN
from steps.providers import installed, not_installed
from workflows.api import Source
from workflows.conditions import put
from workflows.plan import source_plan, source_reasons
from workflows.reported import Condition, SourceStatus

NOT_READY: Final = "clusterNotReady"
CLUSTER_READY: Final = "ClusterReady"
CLUSTER_ERROR: Final = "ClusterError"
"""Types of a source's conditions, as today."""
PROVIDER_NOT_INSTALLED: Final = "ProviderNotInstalled"
WORDS: Final = "words"


@dataclass(frozen=True)
class Verdict:
    """Whether a source can be used, and if not, why (one word and a sentence)."""

    ready: bool
    reason: str = "Verified"
    message: str = ""


def verify(source: Source, credentials: Mapping[str, bytes], options: Options) -> Verdict:
    """Log in to the source and see that it is what it should be; within `options.verify_seconds`."""
    if not installed(SourceKind(source.kind)):
        said = not_installed(SourceKind(source.kind))
        return Verdict(ready=False, reason=PROVIDER_NOT_INSTALLED, message=said)
    reasons = list(source_reasons(source))
    if reasons:
        return Verdict(ready=False, reason="Invalid", message=" | ".join(reasons))
    with tempfile.TemporaryDirectory(prefix="vmferry-source-") as name:  # 0700
        folder = Path(name)
        (folder / "credentials").mkdir(mode=0o700)
        for key, value in credentials.items():
            (folder / "credentials" / key).write_bytes(value)
        (folder / PLAN).write_text(source_plan(source).to_json(), encoding="utf-8")
        return _asked(folder, options.verify_seconds)


def status(verdict: Verdict, before: SourceStatus, generation: int, now: datetime) -> SourceStatus:
    """The source's status after a verdict; conditions of today's types, with reason and message."""
    ready, message = verdict.ready, verdict.message
    said = (verdict.reason, message)
    conditions = before.conditions
    for kind, holds in ((CLUSTER_READY, ready), (CLUSTER_ERROR, not ready)):
        told = Condition(type=kind, status=str(holds), reason=said[0], message=said[1])
        conditions = put(conditions, told, now)
    return SourceStatus(
        status=READY if ready else NOT_READY,
        conditions=conditions,
        message=message,
        observed_generation=generation,
    )


def _asked(folder: Path, seconds: float) -> Verdict:
    """Run `steps.verify` over a folder; its last words are the reason."""
    words = folder / WORDS
    words.touch()
    command = [sys.executable, "-m", "steps.verify", "--request", str(folder), "--scratch", str(folder)]
    command += ["--credentials", str(folder / "credentials")]
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
        said = f"the source has not answered within {seconds:g} s; is its address reachable from the cluster?"
        return Verdict(ready=False, reason="Unreachable", message=said)
    if done.returncode == Exit.DONE:
        return Verdict(ready=True)
    said = words.read_text(encoding="utf-8").strip() or f"steps.verify ended with {done.returncode}"
    return Verdict(ready=False, reason=_reason(done.returncode), message=said)


def _reason(code: int) -> str:
    """One word for an exit code, such as `Denied`."""
    if code not in list(Exit):
        return "VerificationFailed"
    return "".join(part.title() for part in Exit(code).name.split("_"))
