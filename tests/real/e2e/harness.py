"""Shared by the end-to-end tests: a vCenter with small VMs, and `vmferry` as a user calls it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from controller.local.rundir import RunDir
from tests.real import scenario
from tests.real.simulator import Simulator
from workflows.status.nodes import attempt_of, disk_of

MIB: Final = 1 << 20
EXPORT: Final = "VirtualMachine.ExportVmLRO"
SHUTDOWN: Final = "VirtualMachine.shutdownGuest"
POWER_OFF: Final = "VirtualMachine.powerOff"
CANCELED: Final = "RequestCanceled"
DESCRIBED: Final = ("machine.json", "virtualmachine.yaml", "SHA256SUMS")
QUICK: Final = ("--retry-delay", "0.1", "--source-wait", "0")
"""Options of `run` and `retry` for tests of attempts: a source that breaks off is not waited for."""
Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """A `vmferry` process that has ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one-line message."""
        return next((line for line in self.err.splitlines() if line.startswith("error: ")), "")


def argv(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "controller.cli.main", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GOVC_", "VM_NAME"))}
    return clean | more


def vmferry(*arguments: str | Path, stdin: str | None = None, **env: str) -> Ended:
    """Run `vmferry` to its end, as a script does."""
    done = subprocess.run(
        argv(*arguments),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=240,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A `vmferry` that runs in its own process group, as a shell starts it."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def err(self) -> str:
        return self._err.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to vmferry alone."""
        self.process.send_signal(number)

    def held(self, simulator: Simulator, seconds: float = 60) -> Json:
        """Wait for a request that the simulator holds; the test fails if vmferry ends before."""
        return self.until(lambda: next(iter(simulator.held(0.5)), None), seconds, "something held")

    def until(self, condition: Callable[[], T | None], seconds: float = 60, why: str = "") -> T:
        """`until`, but the test fails when this vmferry has ended."""

        def alive() -> T | None:
            found = condition()
            assert found or self.process.poll() is None, f"ended before {why}: {self.err}"
            return found

        return until(alive, seconds, why)

    def kill_all(self) -> None:
        """kill -9 of the whole group: vmferry, its steps, their qemu-img."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, seconds: float = 60) -> Ended:
        code = self.process.wait(seconds)
        return Ended(code, self._out.read_text(), self.err)


@contextmanager
def started(folder: Path, *arguments: str | Path, **env: str) -> Iterator[Running]:
    """`vmferry` in the background, ended with the body; its output goes to files in `folder`."""
    out, err = folder / "vmferry.out", folder / "vmferry.err"
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        subprocess.Popen(
            argv(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=environment(**env),
            start_new_session=True,
        ) as process,
    ):
        running = Running(process, out, err)
        try:
            yield running
        finally:
            running.kill_all()


def until(condition: Callable[[], T | None], seconds: float = 20, why: str = "") -> T:
    """Poll until a condition is true and return its value; the test fails if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {why or condition}"
        time.sleep(0.02)
    return found


def free(folder: Path) -> bool:
    """Whether no process works on an import: its lock, which the steps inherit, is free."""
    rundir = RunDir(folder)
    try:
        os.close(rundir.lock())
    except BlockingIOError:
        return False
    return True


def random_disk(path: Path, size: int, *, data: int | None = None) -> Path:
    """A sparse raw disk of `size` bytes whose first and last parts are random, `data` bytes in total."""
    data = size if data is None else data
    with path.open("wb") as file:
        file.truncate(size)
        file.write(os.urandom(data // 2))
        file.seek(size - (data - data // 2))
        file.write(os.urandom(data - data // 2))
    return path


def machine(name: str, *disks: Path | Json, **more: Any) -> Json:
    """A VM for the simulator's inventory, off by default."""
    described = [disk if isinstance(disk, dict) else {"file": str(disk)} for disk in disks]
    return {"name": name, "disks": described, "nics": [{"network": "VM Network"}], **more}


@contextmanager
def vcenter(folder: Path, *machines: Json, **top: Any) -> Iterator[Simulator]:
    """A simulated vCenter with these VMs in its one datacenter."""
    inventory = {"datacenters": [{"name": "DC0", "vms": list(machines)}], **top}
    with Simulator.start(inventory, folder / "vcenter") as simulator:
        yield simulator


def manifests(simulator: Simulator, path: Path, vm: str, **spec: Any) -> Path:
    """The manifests that import `vm`."""
    secret, source, import_ = scenario.manifests(simulator)
    import_["metadata"]["name"] = spec.pop("name", "test")
    spec.setdefault("networkMapping", [])
    import_["spec"] = {**import_["spec"], "virtualMachineName": vm, "folder": None, **spec}
    return scenario.write(path, [secret, source, import_])


def same(original: Path, imported: Path) -> bool:
    """Whether an imported disk has the original's content, byte for byte."""
    done = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", imported.suffix[1:], original, imported],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def state(folder: Path) -> Json:
    """The content of run.json."""
    found: Json = json.loads((folder / "run.json").read_text())
    return found


def finished(folder: Path, stage: str) -> list[str]:
    """Start times of the attempts of a stage that succeeded: if they are unchanged, it did not run again."""
    return sorted(
        f"{node['name']} {node['startedAt']}"
        for node in state(folder)["status"]["nodes"].values()
        if node["templateName"] == stage and node["type"] == "Pod" and node["phase"] == "Succeeded"
    )


def left(simulator: Simulator) -> Sequence[Json]:
    """Leases and sessions that nobody released."""
    return [*simulator.leases(), *simulator.sessions()]


def tasks(simulator: Simulator, vm: str) -> list[tuple[str, str]]:
    """vCenter's tasks for a VM, oldest first: each with its fault, if any."""
    moid = simulator.vm(vm)["moid"]
    return [(task["descriptionId"], task["error"]) for task in simulator.tasks() if task["entity"] == moid]


def untouched(simulator: Simulator, vm: str, power: str) -> bool:
    """Whether no task was carried out on a VM."""
    return tasks(simulator, vm) == [] and simulator.vm(vm)["power"] == power and left(simulator) == []


def sums_hold(folder: Path) -> bool:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


def imported(folder: Path, *originals: Path, suffix: str = "qcow2") -> bool:
    """Whether a folder has a finished import of these disks, and no leftovers."""
    assert state(folder)["status"]["phase"] == "Succeeded"
    for number, original in enumerate(originals):
        assert same(original, folder / f"disk-{number}.{suffix}"), f"disk-{number} differs"
    disks = {f"disk-{number}.{suffix}" for number in range(len(originals))}
    assert {path.name for path in folder.iterdir()} == {*disks, *DESCRIBED, "run.json", ".vmferry"}
    left_over = {path.name for path in (folder / ".vmferry").iterdir()}
    assert left_over <= {"lock", "runner", "logs", "published", "request"}, left_over
    assert list(folder.rglob("*.partial")) == []
    return sums_hold(folder)


def attempts(folder: Path, stage: str, disk: str | None = None) -> list[Json]:
    """The attempts of a stage, in order."""
    found = [
        node
        for node in state(folder)["status"]["nodes"].values()
        if node["templateName"] == stage and node["type"] == "Pod" and disk in (None, disk_of(node))
    ]
    return sorted(found, key=attempt_of)


class Gate:
    """A TCP proxy to a server that can be shut, as if a vCenter or the network to it were down."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 0)
        self._live: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.url = f"https://{self._address[0]}:{self._address[1]}{parts.path}"
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._live += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def shut(self) -> None:
        """Cut every connection and refuse new ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._live:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._live = []

    def open(self) -> None:
        """Accept connections again, at the same address."""
        self._listener = socket.create_server(self._address)
        self._listen()


@contextmanager
def gate(url: str) -> Iterator[Gate]:
    made = Gate(url)
    try:
        yield made
    finally:
        made.shut()
