"""Runs tests/real/argo. Tests that allow it run in parallel, as an import mostly waits; then the rest run.

    python -m tests.real.argo REPORT.xml [--smoke]

`--smoke` runs only the tests with that marker. The command fails when a test fails. REPORT gets the counts of
all parts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.real.argo.ground import OPTIONS, PREPARED, has_argo, prepared

PARALLEL: Final = 3
"""Parallel tests on two cores: a single one leaves them idle for half of its time."""
COUNTS: Final = ("tests", "failures", "errors", "skipped")
PARALLEL_OPTIONS: Final = ("-n", str(PARALLEL), "--dist=worksteal")
MATRIX: Final = 6
"""Parallel cells of the retry matrix: they mostly wait for pods, back-offs and Argo."""
PARTS: Final = {
    "parallel": ("-m", "not alone and not matrix", *PARALLEL_OPTIONS),
    "matrix": ("-m", "matrix", "-n", str(MATRIX), "--dist=load", "--maxschedchunk=1"),
    "alone": ("-m", "alone"),
}
SMOKE: Final = {"smoke": ("-m", "smoke", *PARALLEL_OPTIONS)}


def main(report: Path, *, smoke: bool) -> int:
    os.environ["VMFERRY_E2E"] = "1"
    if not has_argo():
        return _pytest(report, *(("-m", "smoke") if smoke else ()))
    with prepared(*OPTIONS):
        os.environ[PREPARED] = "1"
        chosen = SMOKE if smoke else PARTS
        parts = {report.with_name(f"argo-{name}.xml"): options for name, options in chosen.items()}
        codes = [_pytest(part, *options) for part, options in parts.items()]
    _sum(report, parts)
    return max(codes)


def _pytest(report: Path, *options: str) -> int:
    folder = str(Path(__file__).parent)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--durations=5",
        f"--junitxml={report}",
        *options,
        folder,
    ]
    return subprocess.run(command, check=False).returncode


def _sum(report: Path, parts: dict[Path, tuple[str, ...]]) -> None:
    """Merge the counts of several reports into one."""
    counts: Counter[str] = Counter()
    for part in parts:
        suite = ET.parse(part).getroot().find("testsuite")  # noqa: S314 - pytest has just written it
        counts.update({name: int(suite.get(name, "0")) for name in COUNTS} if suite is not None else {})
    root = ET.Element("testsuites")
    ET.SubElement(root, "testsuite", {name: str(counts[name]) for name in COUNTS})
    ET.ElementTree(root).write(report)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), smoke="--smoke" in sys.argv[2:]))
