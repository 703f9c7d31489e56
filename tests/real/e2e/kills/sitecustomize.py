"""Imported by every Python process that has this folder on PYTHONPATH: kill -9 before or after a rename.

The product does not know it. `KILL_LOG` names a file to which each rename's label is appended; `KILL_AT` is
`before LABEL` or `after LABEL`, at which the whole process group dies.
"""

import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

_replace = os.replace
_times: Counter[str] = Counter()
_LOG = os.environ.get("KILL_LOG", "")
_AT = os.environ.get("KILL_AT", "")


def _label(source: object, target: object) -> str:
    """The program, the file and its count; for run.json its state, as progress is saved, too."""
    name = re.sub(r"vm-\d+", "vm-N", Path(str(target)).name)
    _times[name] += 1
    detail = _state(Path(str(source))) if name == "run.json" else str(_times[name])
    return f"{Path(sys.argv[0]).stem} {name} {detail}"


def _state(path: Path) -> str:
    status = json.loads(path.read_text())["status"]
    phases = sorted(
        f"{node['type']}:{node['templateName']}:{node['phase']}" for node in status["nodes"].values()
    )
    return f"{status['phase']} {','.join(phases)}"


def _die_at(here: str) -> None:
    if here == _AT:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _watched(source, target, **more):  # type: ignore[no-untyped-def]
    if Path(target).name == "lock":  # one for each process that is started; not part of the import
        _replace(source, target, **more)
        return
    label = _label(source, target)
    if _LOG:
        with Path(_LOG).open("a") as file:
            file.write(f"{label}\n")
    _die_at(f"before {label}")
    _replace(source, target, **more)
    _die_at(f"after {label}")


if _LOG or _AT:
    os.replace = os.rename = _watched  # type: ignore[assignment]
