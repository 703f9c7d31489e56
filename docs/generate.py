"""Writes the pages and the blocks of docs/ that come from the code: `python docs/generate.py`.

A block stands between two comments, `<!-- generated: NAME -->` and `<!-- end -->`; the rest of its page is
written by people. `--check` changes nothing and fails when a page is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import kubectl
import tables
from pyVmomi import vim

from controller.operator.sources.check import SourceVerdict
from steps.providers.vmware.faults import from_fault

DOCS: Final = Path(__file__).parent
ROOT: Final = DOCS.parent
_BLOCK: Final = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def stale() -> dict[Path, str]:
    """Every generated page whose text is not what the code gives now, with the text it should have."""
    found = {DOCS / name: make() for name, make in PAGES.items()}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        if path not in found and "<!-- generated:" in text:
            found[path] = _BLOCK.sub(
                lambda block: f"{block[1]}\n{BLOCKS[block['name']]()}\n\n{block[3]}", text
            )
    return {path: text for path, text in found.items() if not path.exists() or path.read_text() != text}


def _console(*lines: str) -> str:
    return "\n".join(("```console", *lines, "```"))


def _got(name: str) -> Callable[[], str]:
    def make() -> str:
        asked = "$ kubectl get -n shop virtualmachineimport.migration web-01"
        return _console(asked, kubectl.get(kubectl.moments()[name]))

    return make


def _ready() -> str:
    asked = "$ kubectl get -n shop vmwaresource.migration vcenter"
    return _console(asked, kubectl.get_source(SourceVerdict(ready=True)))


def _refused() -> str:
    """A source whose password is wrong."""
    error = from_fault("cannot log in to vcenter.example.com", vim.fault.InvalidLogin())  # type: ignore[no-untyped-call]
    verdict = SourceVerdict(ready=False, reason=error.code.word, message=str(error))
    asked = "$ kubectl get -n shop vmwaresource.migration vcenter -o wide"
    return _console(asked, kubectl.get_source(verdict, wide=True))


def _failed() -> str:
    only = ("importStatus", "step", "message", "poweredOff", "workflow")
    moment = kubectl.moments()["3-failed"]
    return _console(
        "$ kubectl describe -n shop virtualmachineimport.migration web-01",
        kubectl.describe(moment, only=only),
    )


def _happened() -> str:
    moment = kubectl.moments()["6-succeeded-after-retry"]
    asked = "$ kubectl describe -n shop virtualmachineimport.migration web-01"
    return _console(asked, "[...]", kubectl.events(moment))


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "reference/resources.md": tables.resources,
    "reference/chart.md": tables.chart,
    "reference/rights.md": tables.rights,
}
BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "checks": tables.checks,
    "commands": tables.commands,
    "exit-codes": tables.exits,
    "actions": tables.actions,
    "stages": tables.stages,
    "threats": tables.threats,
    "get-source": _ready,
    "get-source-refused": _refused,
    "get-waiting": _got("1-waiting-for-approval"),
    "get-exporting": _got("2-exporting"),
    "get-failed": _got("3-failed"),
    "get-done": _got("6-succeeded-after-retry"),
    "describe-failed": _failed,
    "describe-events": _happened,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is stale")
    check = parser.parse_args(argv).check
    found = stale()
    for path, text in found.items():
        if not check:
            path.write_text(text)
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
