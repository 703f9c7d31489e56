"""The control API of the stand-in, for tests: plain HTTP and JSON on loopback. The README describes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from tests.real.ovirt.engine import Engine
from tests.real.ovirt.faults import Faults, Json, Rule
from tests.real.ovirt.state import Disk, Vm
from tests.real.ovirt.web import Answer, Outage, Request, json_answer

_MODES: Final = ("", "refuse", "reset", "503")


class Control:
    """Answers the requests of tests; `go_away` begins and ends an outage."""

    def __init__(self, engine: Engine, faults: Faults, go_away: Callable[[str, Outage], None]) -> None:
        self._engine, self._faults, self._go_away = engine, faults, go_away

    def handle(self, request: Request) -> Answer:
        url = urlsplit(request.target)
        query = dict(parse_qsl(url.query))
        try:
            body = json.loads(request.body or b"{}")
            found = self._get(url.path, query) if request.method == "GET" else self._post(url.path, body)
        except (KeyError, StopIteration, ValueError) as error:
            return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)
        return json_answer(found)

    def _get(self, path: str, query: dict[str, str]) -> Json:
        state, host = self._engine.state, self._engine.transfers.host
        if path == "/held":  # waits, so without the lock
            return {"held": self._faults.held(float(query.get("wait", "0")))}
        tables: dict[str, Callable[[], Any]] = {
            "/calls": self._faults.calls,
            "/faults": self._faults.rules,
            "/vms": lambda: [_vm(vm) for vm in state.vms.values()],
            "/disks": lambda: [_disk(disk) for disk in state.disks.values()],
            "/transfers": lambda: [self._transfer(known) for known in state.transfers],
            "/sessions": self._engine.sessions.live,
            "/servers": host.servers,
        }
        with state.lock:
            return {path.removeprefix("/"): tables[path]()}

    def _post(self, path: str, body: Json) -> Json:
        state = self._engine.state
        commands: dict[str, Callable[[], object]] = {
            "/faults": lambda: self._faults.add(Rule(**body)),
            "/faults/clear": self._faults.clear,
            "/release": lambda: self._faults.release(body.get("seq")),
            "/reset-calls": self._faults.forget,
            "/sessions/expire": self._engine.sessions.expire,
            "/vms/set": lambda: self._set_vm(body),
            "/disks/set": lambda: setattr(self._named(body["disk"]), "status", body["status"]),
            "/account": lambda: setattr(state, "lacks", set(body["lacks"])),
            "/settings": lambda: self._change(body),
            "/tickets/revoke": lambda: self._revoke(body.get("disk")),
            "/outage": lambda: self._outage(body.get("of", "engine"), body["mode"]),
        }
        with state.lock:
            commands[path]()
        return {}

    def _outage(self, of: str, mode: Any) -> None:
        if mode not in _MODES:
            raise ValueError(f"{mode} is no mode of an outage")
        self._go_away(of, mode)

    def _change(self, changes: Json) -> None:
        settings = self._engine.state.settings
        self._engine.state.settings = type(settings)(**(settings.model_dump() | changes))

    def _revoke(self, disk: str | None) -> None:
        for transfer in self._engine.state.transfers.values():
            if transfer.ticket and disk in {None, transfer.disk.id}:
                self._engine.transfers.host.forbid(transfer.ticket)

    def _transfer(self, known: str) -> Json:
        item = self._engine.state.transfers[known]
        ticket = self._engine.transfers.host.daemon.get(item.ticket) if item.ticket else None
        return {
            "id": item.id,
            "disk": item.disk.id,
            "alias": item.disk.alias,
            "phase": item.phase,
            "phases": item.phases,
            "format": item.format,
            "transferred": item.transferred,
            "size": item.size,
            "live": bool(item.ticket),
            "idle": ticket["idle_time"] if ticket else None,
        }

    def _set_vm(self, body: Json) -> None:
        vm = next(vm for vm in self._engine.state.vms.values() if body["vm"] in {vm.id, vm.described.name})
        changes = {key: value for key, value in body.items() if key not in {"vm", "status"}}
        vm.described = type(vm.described)(**(vm.described.model_dump() | changes))
        if "status" in body:
            vm.status, vm.later = body["status"], []

    def _named(self, name: str) -> Disk:
        return next(disk for disk in self._engine.state.disks.values() if name in {disk.id, disk.alias})


def _vm(vm: Vm) -> dict[str, Any]:
    return {
        "id": vm.id,
        "name": vm.described.name,
        "status": vm.status,
        "shutdowns": vm.shutdowns,
        "stops": vm.stops,
        "starts": vm.starts,
    }


def _disk(disk: Disk) -> dict[str, Any]:
    return {"id": disk.id, "alias": disk.alias, "status": disk.status, "size": disk.size, "chain": disk.chain}
