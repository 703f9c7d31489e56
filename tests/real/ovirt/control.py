"""The control API of the stand-in, for tests: plain HTTP and JSON on loopback. The README describes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

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
        except (KeyError, ValueError, ValidationError) as error:
            return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)
        return json_answer(found)

    def _get(self, path: str, query: dict[str, str]) -> Json:
        state = self._engine.state
        if path == "/held":  # waits, so without the lock
            return {"held": self._faults.held(float(query.get("wait", "0")))}
        with state.lock:
            match path:
                case "/calls":
                    return {"calls": self._faults.calls()}
                case "/faults":
                    return {"faults": self._faults.rules()}
                case "/vms":
                    return {"vms": [_vm(vm) for vm in state.vms.values()]}
                case "/disks":
                    return {"disks": [_disk(disk) for disk in state.disks.values()]}
                case "/transfers":
                    return {"transfers": [self._transfer(known) for known in state.transfers]}
                case "/sessions":
                    return {"sessions": self._engine.sessions.live()}
                case "/servers":
                    return {"servers": self._engine.transfers.host.servers()}
        raise KeyError(path)

    def _post(self, path: str, body: Json) -> Json:
        state = self._engine.state
        if path == "/outage":
            mode = body["mode"]
            if mode not in _MODES:
                raise ValueError(f"{mode} is no mode of an outage")
            self._go_away(body.get("of", "engine"), mode)
            return {}
        with state.lock:
            match path:
                case "/faults":
                    self._faults.add(Rule(**body))
                case "/faults/clear":
                    self._faults.clear()
                case "/release":
                    self._faults.release(body.get("seq"))
                case "/reset-calls":
                    self._faults.forget()
                case "/sessions/expire":
                    self._engine.sessions.expire()
                case "/vms/set":
                    self._set_vm(body)
                case "/disks/set":
                    self._disk(body["disk"]).status = body["status"]
                case "/account":
                    state.lacks = set(body["lacks"])
                case "/settings":
                    state.settings = type(state.settings)(**(state.settings.model_dump() | body))
                case "/tickets/revoke":
                    for transfer in state.transfers.values():
                        if transfer.ticket and body.get("disk", transfer.disk.id) == transfer.disk.id:
                            self._engine.transfers.host.forbid(transfer.ticket)
                case _:
                    raise KeyError(path)
        return {}

    def _transfer(self, known: str) -> Json:
        item = self._engine.state.transfers[known]
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
        }

    def _set_vm(self, body: Json) -> None:
        vm = next(vm for vm in self._engine.state.vms.values() if body["vm"] in {vm.id, vm.described.name})
        changes = {key: value for key, value in body.items() if key not in {"vm", "status"}}
        vm.described = type(vm.described)(**(vm.described.model_dump() | changes))
        if "status" in body:
            vm.status, vm.later = body["status"], []

    def _disk(self, name: str) -> Disk:
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
