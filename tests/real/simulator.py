"""Starts the simulated vCenter of tests/real/vcenter and calls its control API.

Its README.md describes both.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pytest

from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.runtime.stop import Stop
from tests.real import goprogram

_ROOT: Final = Path(__file__).parents[2]
_SOURCES: Final = _ROOT / "tests" / "real" / "vcenter"
_READY_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A running simulator."""

    url: str
    ca: Path
    thumbprint: str
    thumbprint_sha256: str
    control: str
    pid: int
    username: str
    password: str = field(repr=False)

    @classmethod
    @contextmanager
    def start(
        cls,
        inventory: Mapping[str, Any],
        state: Path,
        *,
        listen: str = "127.0.0.1:0",
        host: str = "",
        patience: float = _READY_SECONDS,
    ) -> Iterator[Simulator]:
        """Run a simulator while the body runs; `state` keeps the VMDKs that it makes.

        `listen` is the address of its API, which its certificate names; the control API stays on loopback.
        `host` is the name of its ESXi host, also in the URLs of disks, instead of that address. `patience` is
        how many seconds it may take to create its VMs.

        It also ends when this process ends, in any way: its standard input is a pipe from this process.
        """
        state.mkdir(parents=True, exist_ok=True)
        document = state / "inventory.json"
        document.write_text(json.dumps(inventory))
        argv = [
            str(build()),
            "--inventory",
            str(document),
            "--state",
            str(state),
            "--listen",
            listen,
            "--exit-with-stdin",
            *(["--advertise", host] if host else []),
        ]
        with (
            (state / "vcenter.log").open("ab") as log,
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process,
        ):
            try:
                ready = _first_line(process, state / "vcenter.log", patience)
                if host:
                    ready["url"] = ready["url"].replace(host, listen.partition(":")[0])
                yield cls._from(ready, inventory)
            finally:
                _end(process)

    @classmethod
    def _from(cls, ready: Json, inventory: Mapping[str, Any]) -> Simulator:
        host = inventory.get("kind") == "esxi"
        return cls(
            url=ready["url"],
            ca=Path(ready["ca"]),
            thumbprint=ready["thumbprint"],
            thumbprint_sha256=ready["thumbprintSHA256"],
            control=ready["control"],
            pid=ready["pid"],
            username=inventory.get("username", "root" if host else "administrator@vsphere.local"),
            password=inventory.get("password", "secret"),
        )

    # State and history.

    def tasks(self) -> list[Json]:
        return self._list("tasks")

    def sessions(self) -> list[Json]:
        return self._list("sessions")

    def leases(self, *, ended: bool = False) -> list[Json]:
        """The active leases; with `ended` also the others, with how they ended."""
        return self._list("leases", "?all=1" if ended else "")

    def vms(self) -> list[Json]:
        return self._list("vms")

    def vm(self, name: str) -> Json:
        """The one VM of that name or path."""
        (found,) = [vm for vm in self.vms() if name in {vm["name"], vm["path"], vm["moid"]}]
        return found

    def calls(self, method: str = "") -> list[Json]:
        """The calls in order of arrival; only those of one SOAP method if it is given."""
        return [call for call in self._list("calls") if method in {"", call["method"]}]

    def forget_calls(self) -> None:
        self.ask("POST", "/reset-calls")

    # Faults, and held calls.

    def faults(self, **rule: Any) -> None:
        """Add one rule, as in `faults(cutAfterBytes=65536, times=1)`."""
        self.ask("POST", "/faults", rule)

    def hold(self, method: str, when: str = "before", nth: int = 1) -> None:
        """Hold the nth such call from now, before or after it is carried out, until `release`."""
        self.faults(hold={"method": method, "when": when, "nth": nth})

    def held(self, wait: float) -> list[Json]:
        """The held calls; waits up to this number of seconds for the first."""
        return self._list("held", f"?wait={wait:g}")

    def release(self, which: int | None = None) -> None:
        """Release one call, or all."""
        self.ask("POST", "/release", {"all": True} if which is None else {"id": which})

    def clear(self) -> None:
        """Remove all rules, release all calls and end an outage."""
        self.ask("POST", "/faults/clear")
        self.come_back()
        self.release()

    def go_away(self, mode: str) -> None:
        """Begin an outage of the API: `refuse`, `reset`, `503` or `notReady`; it ends all sessions."""
        self.ask("POST", "/outage", {"mode": mode})

    def come_back(self) -> None:
        """End the outage."""
        self.ask("POST", "/outage", {"mode": ""})

    def set_power(self, vm: str, state: str) -> None:
        """Turn a VM `on` or `off` without a task."""
        self.ask("POST", "/vms/power", {"vm": vm, "state": state})

    def set_vm(self, vm: str, **changes: Any) -> None:
        self.ask("POST", "/vms/set", {"vm": vm, **changes})

    def set_lacks(self, *privileges: str) -> None:
        """Set the privileges that the account lacks from now on."""
        self.ask("POST", "/account", {"lacks": list(privileges)})

    def _list(self, name: str, query: str = "") -> list[Json]:
        found: list[Json] = self.ask("GET", f"/{name}{query}")[name]
        return found

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """One request to the control API; a refusal fails the test."""
        connection = http.client.HTTPConnection(self.control.removeprefix("http://"), timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            text = response.read()
        assert response.status == 200, f"{method} {path}: {response.status} {text.decode()}"
        answer: Json = json.loads(text or b"{}")
        return answer


def build() -> Path:
    """The simulator's program; it is built if needed."""
    return goprogram.build("vcenter", _SOURCES)


def _first_line(process: subprocess.Popen[bytes], log: Path, patience: float) -> Json:
    """The line that the simulator prints when it is ready."""
    assert process.stdout is not None
    timer = threading.Timer(patience, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    assert line, f"the simulator did not start: {log.read_text(errors='replace')[-2000:]}"
    ready: Json = json.loads(line)
    return ready


def _end(process: subprocess.Popen[bytes]) -> None:
    stdin: IO[bytes] | None = process.stdin
    assert stdin is not None
    stdin.close()
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def write_credentials(folder: Path, simulator: Simulator, **keys: str) -> Path:
    """Credential files as in a mounted Secret; given keys replace the defaults, an empty one is omitted."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        "username": simulator.username,
        "password": simulator.password + "\n",
        "caCert": simulator.ca.read_text(),
        **keys,
    }
    for key, value in wanted.items():
        (folder / key).unlink(missing_ok=True)
        if value:
            (folder / key).write_text(value)
    return folder


def make_access(
    simulator: Simulator,
    folder: Path,
    *,
    step: str = "verify",
    keys: Mapping[str, str] | None = None,
    **plan: Any,
) -> Access:
    """The arguments of `connect`; `plan` goes into the SourcePlan, `keys` into the credentials."""
    source = {"kind": SourceKind.VMWARE, "name": "vc", "endpoint": simulator.url, **plan}
    return Access(
        plan=SourcePlan(**source),
        credentials=write_credentials(folder / "credentials", simulator, **(keys or {})),
        stop=Stop(),
        run=f"run-{os.getpid()}",
        step=step,
        state_folder=folder / "memory",
    )


StartSimulator = Callable[[Mapping[str, Any]], Simulator]


@pytest.fixture
def start_simulator(tmp_path: Path) -> Iterator[StartSimulator]:
    """Starts simulators for one test; they end with it."""
    with ExitStack() as stack:
        started: list[Simulator] = []

        def start(inventory: Mapping[str, Any]) -> Simulator:
            state = tmp_path / f"vcenter-{len(started)}"
            started.append(stack.enter_context(Simulator.start(inventory, state)))
            return started[-1]

        yield start


@pytest.fixture(scope="session")
def simulator_states(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """State folders for simulators that live longer than one test, a new one for each name."""
    return lambda name: tmp_path_factory.mktemp(f"vcenter-{name}")
