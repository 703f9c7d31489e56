"""Standard output contains only the document, whatever a source, a library or a retry prints meanwhile."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from ruamel.yaml import YAML

from controller.cli import dryrun
from steps.model.contract import Exit, StepError
from steps.providers import Access, Provider
from steps.runtime import retry
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_nic
from tests.unit.controller.cli.conftest import Vmferry
from tests.unit.controller.cli.test_main import ALL
from tests.unit.controller.manifests.test_read import SECRET, SOURCE
from tests.unit.providers import FakeProvider

NOISE = "the source is slow today"
COMMANDS = {
    "inventory-json": ("inventory", "-f", "vm.yaml", "-o", "json"),
    "inventory-yaml": ("inventory", "-f", "vm.yaml", "-o", "yaml"),
    "one-manifest": ("inventory", "-f", "vm.yaml", "--manifest", "web01"),
    "all-manifests": ("inventory", "-f", "vm.yaml", "--all", "--manifest", "-o", "json"),
    "plan-json": ("plan", "-f", "all.yaml", "-o", "json"),
    "plan-yaml": ("plan", "-f", "all.yaml", "-o", "yaml"),
}


def retried() -> None:
    failures = iter([OSError(NOISE)])
    for attempt in retry.attempts(Stop(), lambda error: isinstance(error, OSError)):
        with attempt:
            for failure in failures:
                raise failure


def logged_by_structlog() -> None:
    structlog.get_logger("a.library").info("on the way", why=NOISE)


def warned() -> None:
    structlog.get_logger().warning("left out", server=f"[bold]{NOISE}[/oops]")


def printed() -> None:
    print(NOISE)  # noqa: T201


def logged() -> None:
    logging.getLogger("a.library").warning(NOISE)


NOISES = (retried, logged_by_structlog, warned, printed, logged)


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[], None]], None]:
    """A source that prints something when it is reached."""
    secret = SECRET.replace("password: p", "password: hunter2")
    (tmp_path / "vm.yaml").write_text(f"{secret}---\n{SOURCE}")
    (tmp_path / "all.yaml").write_text(ALL)

    class AnyFolder(FakeProvider):
        def describe(self, vm: str, folder: str | None) -> object:  # type: ignore[override]
            return super().describe(vm, None)

    def use(noise: Callable[[], None]) -> None:
        @contextmanager
        def connect(_: Access) -> Iterator[Provider]:
            noise()
            yield AnyFolder(a_machine(name="web01", path="/DC0/vm/web01", nics=(a_nic(0),)))

        monkeypatch.setattr(dryrun, "connect", connect)

    return use


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_messages_go_to_standard_error(
    vmferry: Vmferry,
    noisy: Callable[[Callable[[], None]], None],
    command: str,
    noise: Callable[[], None],
) -> None:
    noisy(noise)
    ended = vmferry(*COMMANDS[command])
    assert ended.code == Exit.DONE, ended.err
    assert NOISE not in ended.out
    if noise is not logged:  # pytest itself removes it
        assert NOISE in ended.err
    if command.endswith("json") or command == "all-manifests":
        json.loads(ended.out)
    else:
        assert YAML(typ="safe").load(ended.out)


@pytest.mark.parametrize("command", ["inventory-json", "one-manifest", "plan-json"])
def test_a_failing_source_leaves_a_document_or_nothing(
    vmferry: Vmferry, noisy: Callable[[Callable[[], None]], None], command: str
) -> None:
    def fails() -> None:
        logged_by_structlog()
        raise StepError(Exit.UNREACHABLE, "the source does not answer")

    noisy(fails)
    ended = vmferry(*COMMANDS[command])
    assert ended.code == Exit.UNREACHABLE
    if command == "plan-json":
        (found,) = json.loads(ended.out)
        assert [reason["exitCode"] for reason in found["reasons"]] == [Exit.UNREACHABLE]
    else:
        assert ended.out == ""
        assert "error: the source does not answer" in ended.err


def test_no_argument_of_a_call_is_logged(
    vmferry: Vmferry, noisy: Callable[[Callable[[], None]], None]
) -> None:
    """stamina's own log line contains the call with all its arguments."""
    noisy(retried)
    ended = vmferry(*COMMANDS["plan-json"])
    assert "retrying" in ended.err
    assert "args" not in ended.err


@pytest.mark.parametrize(
    ("to", "code", "message"),
    [(">/dev/full", Exit.INVALID, "error: cannot write to standard output: No space left"), (">&-", 0, "")],
)
def test_an_unwritable_document_is_reported(tmp_path: Path, to: str, code: int, message: str) -> None:
    (tmp_path / "old.yaml").write_text("{apiVersion: v1, kind: ConfigMap, data: {}}\n")
    script = f"vmferry migrate-manifests -f old.yaml {to}"
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **path},
    )
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_ends_a_command_silently(tmp_path: Path) -> None:
    more = "x" * (1 << 17)  # more than a pipe can buffer
    (tmp_path / "old.yaml").write_text(f"{{apiVersion: v1, kind: ConfigMap, data: {{a: {more}}}}}\n")
    script = "vmferry migrate-manifests -f old.yaml | true; exit ${PIPESTATUS[0]}"
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **path},
    )
    assert (done.returncode, done.stderr) == (1, "")
