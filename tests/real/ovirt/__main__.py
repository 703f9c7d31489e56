"""`python -m tests.real.ovirt`: an engine stand-in with a real ovirt-imageio, from an inventory.

Prints one line of JSON when it is ready. It ends with SIGTERM, and if asked to with the end of its standard
input.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

from tests.real.ovirt import machines, pki
from tests.real.ovirt.control import Control
from tests.real.ovirt.documents import API
from tests.real.ovirt.engine import Engine
from tests.real.ovirt.faults import Faults
from tests.real.ovirt.gate import Gate
from tests.real.ovirt.host import Host, free_port
from tests.real.ovirt.inventory import Inventory
from tests.real.ovirt.layout import is_prepared
from tests.real.ovirt.resources import Resources
from tests.real.ovirt.state import State, Transfer
from tests.real.ovirt.transfers import Transfers
from tests.real.ovirt.web import Outage, Server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.real.ovirt", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True, help="a JSON file; see inventory.py")
    parser.add_argument("--state", type=Path, required=True, help="a folder for logs, keys and sockets")
    parser.add_argument("--listen", default="127.0.0.1:0", help="ADDRESS:PORT of the API")
    parser.add_argument(
        "--daemon-port",
        type=int,
        default=0,
        help="of ovirt-imageio; in production 54322; default: a free one",
    )
    parser.add_argument(
        "--proxy-port", type=int, default=0, help="of its proxy; in production 54323; default: a free one"
    )
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args()


def _inventory(path: Path) -> Inventory:
    described = Inventory.model_validate_json(path.read_text())
    for vm in described.vms:
        for disk in vm.disks:
            disk.file = disk.file.absolute() if disk.file else None
    return described


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


def run(options: argparse.Namespace) -> None:
    if not is_prepared():
        sys.exit("error: ovirt-imageio is missing; run: tests/prepare.sh packages python ovirt")
    described = _inventory(options.inventory)
    options.state.mkdir(parents=True, exist_ok=True)
    os.chdir(options.state)  # short paths of sockets, see host.py
    address, _, port = options.listen.rpartition(":")
    keys = pki.make(Path("pki"), address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.certificate, keys.key)
    settings = described.settings
    host = Host.start(address, keys, proxy=settings.proxy, max_connections=settings.max_connections)
    faults, state = Faults(), State(described)
    direct = Gate(address, host.daemon.port, keys)
    proxied = Gate(address, host.proxy.port, keys) if host.proxy else direct
    fronts = [
        Server((address, front_port), context, gate.handle, kind="image", faults=faults)
        for gate, front_port in ((direct, options.daemon_port), (proxied, options.proxy_port))
    ]
    closed = free_port(address)

    def urls(transfer: Transfer) -> tuple[str, str]:
        first, second = (f"https://{address}:{front.address[1]}" for front in fronts)
        return (f"https://{address}:{closed}" if transfer.refuses else first, second)

    transfers = Transfers(state, host)
    engine = Engine(state, Resources(state, urls), transfers, keys.authority.absolute())
    api = Server((address, int(port)), context, engine.handle, kind="engine", faults=faults)
    over = threading.Event()

    def go_away(of: str, mode: Outage) -> None:
        server = {"engine": api, "host": fronts[0], "proxy": fronts[1]}[of]
        with state.lock:
            if server is api:
                engine.sessions.expire()
            server.go_away(mode)

    control = Server(("127.0.0.1", 0), None, Control(engine, faults, go_away).handle)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if options.exit_with_stdin:
        threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    ready = {
        "url": f"https://{address}:{api.address[1]}{API}",
        "ca": str(keys.authority.absolute()),
        "control": f"http://127.0.0.1:{control.address[1]}",
        "daemon": host.daemon.port,
        "pid": os.getpid(),
    }
    print(json.dumps(ready), flush=True)  # noqa: T201 - for the process that started this one
    try:
        while not over.wait(settings.tick_seconds):
            if api.outage:
                continue  # the engine is down: nobody watches its transfers
            with state.lock:
                machines.tick(state)
                transfers.tick()
    finally:
        host.stop()


if __name__ == "__main__":
    run(arguments())
