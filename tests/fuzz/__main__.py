"""Fuzzes the parsers of foreign bytes: each in its own process, with a printed seed."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.case import Case
from tests.fuzz.parsers import COVERS

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".cache" / "fuzz"
BRANCHES: Final = 0.9
"""The fraction of a parser's branches that must be reached."""
ENOUGH: Final = 600
"""Cases after which a run that is limited by time must have reached them."""


@dataclass(frozen=True)
class Result:
    """The result of one parser: the text to print, and whether the run succeeded."""

    text: str
    good: bool


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(COVERS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--cases", type=int, help="so many cases instead, which the seed alone decides")
    parser.add_argument("--seed", help="of an earlier run")
    parser.add_argument("--jobs", type=int, default=2, help="parsers at once")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one kept case")
    given = parser.parse_args(argv)
    if unknown := set(given.parsers) - set(COVERS):
        parser.error(f"no such parser: {', '.join(sorted(unknown))}")
    return given


def fuzz(name: str, limit: str, seed: str) -> Result:
    """Fuzz one parser. `limit` is `60s` or `500n` (cases); `replay` uses a saved case instead of the seed."""
    memory = Path("/dev/shm")  # noqa: S108 - on every Linux; elsewhere it only takes longer
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None) as folder:
        root = Path(folder)
        argv = [sys.executable, "-m", "tests.fuzz.child", name, folder, limit, seed]
        child = subprocess.run(
            argv,
            cwd=ROOT,
            env=os.environ | {"MALLOC_ARENA_MAX": "1"},  # memory that idle arenas keep counts for the limit
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if child.returncode:
            return _died(root, name, seed, child)
        return _result(root, name, limit, seed, json.loads((root / "report.json").read_text()))


def _died(root: Path, name: str, seed: str, child: subprocess.CompletedProcess[str]) -> Result:
    lines = [f"{name}: seed {seed}: the process ended with {child.returncode}", child.stderr[-3000:]]
    if (current := root / "current.case").exists():
        lines.append(_keep(current, f"seed-{Path(seed).name}-{name}-died.case"))
    return Result("\n".join(lines), False)


def _keep(case: Path, name: str) -> str:
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / name
    shutil.copyfile(case, kept)
    shown = kept.relative_to(ROOT) if kept.is_relative_to(ROOT) else kept
    return f"  again: python -m tests.fuzz --replay {shown}"


def _result(root: Path, name: str, limit: str, seed: str, report: dict[str, Any]) -> Result:
    part = report["reached"] / report["branches"] if report["branches"] else 1.0
    head = (
        f"{name}: seed {seed}, {report['cases']} cases in {report['seconds']:.0f} s,"
        f" {report['memory'] >> 20} MiB of memory, {report['reached']} of {report['branches']} branches"
        f" ({part:.0%}), {len(report['faults'])} faults"
    )
    lines = [head]
    for title in ("outcomes", "opinions"):
        ordered = sorted(report[title].items(), key=lambda item: -item[1])
        lines += [f"  {count:7} {word}" for word, count in ordered if word != "not asked for"]
    for fault, description in report["faults"].items():
        lines += [description, _keep(root / "faults" / fault, f"seed-{Path(seed).name}-{fault}")]
    replayed = limit == "replay"
    # On a busy computer a time may be too short for the branches; a number of cases never is.
    too_short = not limit.endswith("n") and report["cases"] < ENOUGH
    few = part < BRANCHES and not replayed and not too_short
    if few:
        lines.append(f"  fewer than {BRANCHES:.0%} of the branches were reached")
    if not replayed:
        lines.append(f"  not reached: {' '.join(report['missing']) or 'none'}")
    return Result("\n".join(lines), not report["faults"] and not few)


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    if given.replay:
        results = [fuzz(Case.load(given.replay).parser, "replay", str(given.replay.absolute()))]
    else:
        seed = given.seed or str(random.randrange(1 << 32))
        limit = f"{given.cases}n" if given.cases else f"{given.seconds}s"
        with ThreadPoolExecutor(given.jobs) as pool:
            results = list(pool.map(lambda name: fuzz(name, limit, seed), given.parsers or COVERS))
    for result in results:
        sys.stdout.write(result.text + "\n")
    return 0 if all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
