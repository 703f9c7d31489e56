"""`vmferry plan --vm` and `vmferry run --vm`: imports of the manifests, or VMs of the source."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from controller.cli import dryrun
from controller.local import imports
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.providers import Access, Inventory, Provider
from tests.unit.builders import a_machine
from tests.unit.controller.cli.conftest import Ended, Vmferry, refused
from tests.unit.controller.manifests.test_read import IMPORT, SECRET, SOURCE
from tests.unit.providers import FakeProvider

MACHINES = (
    a_machine(name="web01", path="/DC0/vm/prod/web01", source_id="vm-1"),
    a_machine(name="web02", path="/DC0/vm/prod/web02", source_id="vm-2"),
    a_machine(name="db", path="/DC0/vm/db", source_id="vm-3"),
)


class Several(FakeProvider):
    """Three VMs in two folders."""

    def __init__(self) -> None:
        super().__init__(MACHINES[0])

    def describe(self, vm: str, folder: str | None) -> Machine:
        found = [one for one in MACHINES if one.name == vm]
        if not found:
            raise StepError(Exit.NOT_FOUND, f"no VM {vm}")
        return found[0]

    def inventory(self) -> Inventory:
        return Inventory(machines=MACHINES, networks=("VM Network",), folders=("prod",))


@pytest.fixture(autouse=True)
def _source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = SECRET.replace("password: p", "password: hunter2")
    (tmp_path / "source.yaml").write_text(f"{secret}---\n{SOURCE}")
    (tmp_path / "imports.yaml").write_text(
        "---\n".join(
            IMPORT.replace("name: web}", f"name: {name}}}").replace("web01", name) for name in ("web01", "db")
        )
    )

    @contextmanager
    def connect(_: Access) -> Iterator[Provider]:
        yield Several()

    monkeypatch.setattr(dryrun, "connect", connect)


def planned(ended: Ended) -> list[tuple[str, bool]]:
    return [(one["import"], one["possible"]) for one in json.loads(ended.out)]


Run = Callable[..., Ended]


@pytest.fixture
def run(vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`vmferry run` up to the point at which imports begin: it then fails with the names of their folders."""

    def create(jobs: list[object], into: Path, target: object) -> None:
        del target
        raise StepError(Exit.CONFLICT, ", ".join(f"{into}/{job.name}" for job in jobs))  # type: ignore[attr-defined]

    monkeypatch.setattr(imports, "create", create)
    return lambda *words: vmferry("run", "-f", "source.yaml", "--into", "out", *words)


def test_vms_of_the_source_are_planned_by_pattern(vmferry: Vmferry) -> None:
    ended = vmferry("plan", "-f", "source.yaml", "--vm", "/DC0/vm/prod/*", "-o", "json")
    assert planned(ended) == [("web01", True), ("web02", True)]
    assert "hunter2" not in ended.out + ended.err


def test_imports_of_the_manifests_are_selected_by_pattern(vmferry: Vmferry) -> None:
    words = ("plan", "-f", "source.yaml", "-f", "imports.yaml", "-o", "json")
    assert [name for name, _ in planned(vmferry(*words))] == ["web01", "db"]
    for pattern in ("web*", "web01", "/DC0/vm/web*"):
        assert [name for name, _ in planned(vmferry(*words, "--vm", pattern))] == ["web01"]


def test_a_pattern_that_fits_no_import_is_refused(vmferry: Vmferry) -> None:
    ended = vmferry("plan", "-f", "source.yaml", "-f", "imports.yaml", "--vm", "mail*")
    refused(ended, Exit.INVALID, "no import is for a VM that fits 'mail*' (imports: web01, db)")


def test_a_pattern_that_fits_no_vm_is_refused(vmferry: Vmferry) -> None:
    refused(vmferry("plan", "-f", "source.yaml", "--vm", "mail*"), Exit.NOT_FOUND, "there is no VM 'mail*'")


def test_a_wildcard_over_the_source_needs_a_confirmation(run: Run) -> None:
    ended = run("--vm", "web*")
    assert ended.code == Exit.INVALID
    assert "prod/web01\n  prod/web02\n" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: run needs a confirmation")
    assert "add --yes" in ended.err


def test_a_confirmed_wildcard_imports_what_it_fits(run: Run) -> None:
    refused(run("--vm", "web*", "--yes"), Exit.CONFLICT, "out/web01, out/web02")


def test_a_vm_that_was_named_needs_no_confirmation(run: Run) -> None:
    refused(run("--vm", "db", "--vm", "vm-2"), Exit.CONFLICT, "out/web02, out/db")


@pytest.mark.parametrize(
    ("answer", "code", "word"), [(False, Exit.INVALID, "not confirmed"), (True, Exit.CONFLICT, "out/db")]
)
def test_a_person_is_asked_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: bool, code: Exit, word: str
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    ended = run("--vm", "d*")
    assert ended.code == code
    assert word in ended.err
    assert questions == ["Shut down and import this VM?"]
