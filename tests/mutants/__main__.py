"""Change the code in small ways, and show each change that no test notices."""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import score, tool, tree
from tests.mutants.score import Mutant

CACHE = tree.ROOT / ".cache" / "mutants"
SEED = 14
LAST_LINES = 40
"""What is shown of mutmut's output if it fails."""


def say(*lines: object) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--since", default="main", help="mutate the modules changed since this commit")
    parser.add_argument(
        "--modules", nargs="+", default=[], metavar="PATH", help="mutate these files or folders"
    )
    parser.add_argument(
        "--tests", nargs="+", required=True, metavar="PATH", help="the tests, or their folders"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="try only N mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=SEED, help="another sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at the same time")
    parser.add_argument("--again", action="store_true", help="try only those that no test noticed last time")
    return parser.parse_args()


def choose(given: argparse.Namespace, modules: Sequence[str], last: Path) -> list[str]:
    """The names of the mutants to try; none means all."""
    if not (given.again or given.sample):
        return []
    names = [name for module in modules for name in tool.names(module)]
    if given.again:
        before = set(last.read_text(encoding="utf-8").split()) if last.exists() else set()
        names = [name for name in names if name in before]
    if given.sample and given.sample < len(names):
        say(f"a sample of {given.sample} of {len(names)} mutants, seed {given.seed}")
        names = sorted(random.Random(given.seed).sample(names, given.sample))
    return names


def read(modules: Sequence[str], chosen: Sequence[str]) -> list[Mutant]:
    wanted = set(chosen)
    return [
        Mutant(module, name, verdict)
        for module in modules
        for name, verdict in tool.verdicts(module).items()
        if not wanted or name in wanted
    ]


def show(mutants: Sequence[Mutant], last: Path) -> None:
    """The report; the names of those that no test noticed are kept for `--again`."""
    for mutant in score.unnoticed(mutants):
        say("", f"# {mutant.name}: {mutant.verdict}", tool.diff(mutant.module, mutant.name))
    untested = sorted({m.name.partition("__mutmut_")[0] for m in mutants if m.verdict == "no tests"})
    if untested:
        say("", "no test calls:", *untested)
    say("", score.table(mutants))
    kept = [mutant.name for mutant in score.checked(mutants) if mutant.verdict not in score.NOTICED]
    last.write_text("\n".join(kept), encoding="utf-8")


def measure(given: argparse.Namespace, modules: Sequence[str]) -> int:
    """Try the mutants in the copy of the tree; 0 when all were tried, whatever the score."""
    last, log = CACHE / "unnoticed", CACHE / "mutmut.log"
    chosen = choose(given, modules, last)
    if given.again and not chosen:
        say("no mutant of these modules was left unnoticed last time")
        return 0
    known = {mutant.name for mutant in score.checked(read(modules, chosen))}
    left = [name for name in chosen if name not in known]
    code = 0
    try:
        if left or not chosen:
            code = tool.run(Path.cwd(), log, given.jobs, left)
    except KeyboardInterrupt:
        code = 130
    mutants = read(modules, chosen)
    if score.checked(mutants):
        show(mutants, last)
    if code == 130:
        say("stopped; the same command continues")
    elif code and log.exists():
        say(*log.read_text(encoding="utf-8").splitlines()[-LAST_LINES:])
    return code


def main() -> int:
    given = arguments()
    names = tree.files()
    try:
        modules = tree.modules(names, given.since, given.modules)
    except tree.NothingToMutateError as reason:
        say(reason)
        return 0
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree.lay(CACHE / "tree", names, tree.settings(names, modules, given.tests))
        os.chdir(CACHE / "tree")
        say(*modules)
        return measure(given, modules)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the first mutant
        sys.exit(130)
