"""Starts the engine stand-in with its real ovirt-imageio, and calls its control API."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.real.ovirt.inventory import Inventory
from tests.real.ovirt.layout import ROOT

_READY_SECONDS: Final = 90.0
_END_SECONDS: Final = 20.0

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A running stand-in."""

    url: str
    """The API: `https://ADDRESS:PORT/ovirt-engine/api`."""
    ca: Path
    control: str
    daemon: int
    """The port of the real daemon itself; URLs of transfers name the gate in front of it."""
    pid: int
    username: str
    password: str = field(repr=False)

    @classmethod
    @contextmanager
    def start(
        cls,
        inventory: Inventory | Mapping[str, Any],
        state: Path,
        *,
        listen: str = "127.0.0.1:0",
        daemon_port: int = 0,
        proxy_port: int = 0,
    ) -> Iterator[Lab]:
        """Run a stand-in while the body runs. `state` has its logs. A port of 0 is a free one.

        It also ends when this process ends, in any way: its standard input is a pipe from this process.
        """
        described = inventory if isinstance(inventory, Inventory) else Inventory.model_validate(inventory)
        state.mkdir(parents=True, exist_ok=True)
        document, log = state / "inventory.json", state / "engine.log"
        document.write_text(described.model_dump_json())
        options = [
            "--inventory",
            str(document),
            "--state",
            str(state),
            "--listen",
            listen,
            "--daemon-port",
            str(daemon_port),
            "--proxy-port",
            str(proxy_port),
            "--exit-with-stdin",
        ]
        argv = [sys.executable, "-m", "tests.real.ovirt", *options]
        with (
            log.open("ab") as file,
            subprocess.Popen(
                argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file
            ) as process,
        ):
            try:
                ready = _first_line(process, log)
                yield cls(
                    url=ready["url"],
                    ca=Path(ready["ca"]),
                    control=ready["control"],
                    daemon=ready["daemon"],
                    pid=ready["pid"],
                    username=described.username,
                    password=described.password,
                )
            finally:
                _end(process)

    # State and history.

    def vm(self, name: str) -> Json:
        """Status and counters (`shutdowns`, `stops`, `starts`) of the one VM with this name or ID."""
        (found,) = [vm for vm in self._list("vms") if name in {vm["name"], vm["id"]}]
        return found

    def disks(self) -> list[Json]:
        return self._list("disks")

    def disk(self, name: str) -> Json:
        """The one disk with this alias or ID."""
        (found,) = [disk for disk in self.disks() if name in {disk["alias"], disk["id"]}]
        return found

    def transfers(self, *, live: bool = False) -> list[Json]:
        """All transfers, with the phases that each had; with `live` only those that hold their disk."""
        ended = {"finished_success", "finished_failure"}
        return [item for item in self._list("transfers") if not live or item["phase"] not in ended]

    def servers(self) -> list[str]:
        """The transfers for which qemu-nbd runs."""
        return list(self.ask("GET", "/servers")["servers"])

    def sessions(self) -> int:
        return int(self.ask("GET", "/sessions")["sessions"])

    def calls(self, kind: str = "", method: str = "", path: str = "") -> list[Json]:
        """The calls in order of arrival, of the kind `engine` or `image`, with this text in their path."""
        return [
            call
            for call in self._list("calls")
            if kind in {"", call["kind"]} and method in {"", call["method"]} and path in call["path"]
        ]

    def forget_calls(self) -> None:
        self.ask("POST", "/reset-calls", {})

    # Faults, held calls, changes.

    def fault(self, **rule: Any) -> None:
        """Add one rule, as in `fault(path="/vms", cut=20)`; faults.py has the fields."""
        self.ask("POST", "/faults", rule)

    def hold(self, path: str, when: str = "before", **rule: Any) -> None:
        """Hold the next such call before or after it is carried out, until `release`."""
        self.fault(path=path, hold=when, **rule)

    def held(self, wait: float) -> list[Json]:
        """The held calls; waits up to this number of seconds for the first."""
        return self._list("held", f"?wait={wait:g}")

    def release(self, seq: int | None = None) -> None:
        """Release one call, or all."""
        self.ask("POST", "/release", {} if seq is None else {"seq": seq})

    def clear(self) -> None:
        """Remove all rules, release all calls and end the outages."""
        self.ask("POST", "/faults/clear", {})
        for of in ("engine", "host", "proxy"):
            self.come_back(of)

    def go_away(self, mode: str = "refuse", of: str = "engine") -> None:
        """Begin an outage of the `engine`, the `host` or the `proxy`: `refuse`, `reset` or `503`.

        While the engine is away, its sessions end and nobody watches the transfers, as while it restarts.
        """
        self.ask("POST", "/outage", {"mode": mode, "of": of})

    def come_back(self, of: str = "engine") -> None:
        self.ask("POST", "/outage", {"mode": "", "of": of})

    def expire_sessions(self) -> None:
        self.ask("POST", "/sessions/expire", {})

    def revoke_tickets(self, disk: str | None = None) -> None:
        """Take the tickets of all transfers, or of those of the disk with this ID, from the daemons."""
        self.ask("POST", "/tickets/revoke", {} if disk is None else {"disk": disk})

    def set_vm(self, vm: str, **changes: Any) -> None:
        """Change fields of a VM's description (inventory.py), or its `status`."""
        self.ask("POST", "/vms/set", {"vm": vm, **changes})

    def set_disk(self, disk: str, status: str) -> None:
        self.ask("POST", "/disks/set", {"disk": disk, "status": status})

    def set_lacks(self, *permissions: str) -> None:
        self.ask("POST", "/account", {"lacks": list(permissions)})

    def settings(self, **changes: Any) -> None:
        """Change the engine's settings (inventory.py) from now on."""
        self.ask("POST", "/settings", changes)

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


def _first_line(process: subprocess.Popen[bytes], log: Path) -> Json:
    """The line that the stand-in prints when it is ready."""
    assert process.stdout is not None
    timer = threading.Timer(_READY_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    assert line, f"the oVirt stand-in did not start: {log.read_text(errors='replace')[-2000:]}"
    ready: Json = json.loads(line)
    return ready


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
