"""The host of the stand-in: the real ovirt-imageio, and a real qemu-nbd for each transfer in raw format.

Paths are relative to the state folder, the working directory of this process and of its programs: a path of a
socket has at most 107 bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.real.ovirt.layout import DAEMON
from tests.real.ovirt.pki import Pki

Json = dict[str, Any]

_READY_SECONDS: Final = 60.0
_POLL: Final = 0.05
# children end with this process, also when it is killed
_BOUND: Final = ("setpriv", "--pdeathsig", "KILL")


class HostError(Exception):
    """The host could not do what the engine asked for."""


@dataclass
class Daemon:
    """A running ovirt-imageio."""

    process: subprocess.Popen[bytes]
    control: str
    port: int

    @classmethod
    def start(cls, name: str, address: str, pki: Pki, *, port: int = 0, max_connections: int = 8) -> Daemon:
        """Start a daemon; `name` is its folder under the working directory."""
        folder = Path(name)
        (folder / "conf.d").mkdir(parents=True, exist_ok=True)
        control = f"{name}/control"
        Path(control).unlink(missing_ok=True)
        port = port or free_port(address)
        sections: dict[str, dict[str, object]] = {
            "daemon": {
                "systemd_enable": "false",
                "drop_privileges": "false",
                "run_dir": name,
                "max_connections": max_connections,
                "poll_interval": 0.1,
            },
            "tls": {"key_file": pki.key, "cert_file": pki.certificate, "ca_file": pki.authority},
            "remote": {"host": address, "port": port},
            "local": {"enable": "false"},
            "control": {"transport": "unix", "socket": control, "remove_timeout": 5},
            "profile": {"filename": f"{name}/profile"},
            "handlers": {"keys": "stderr"},
            "logger_root": {"level": "INFO", "handlers": "stderr"},
        }
        lines = [
            line
            for section, values in sections.items()
            for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()), "")
        ]
        (folder / "conf.d" / "50-lab.conf").write_text("\n".join(lines))
        log = folder / "daemon.log"
        with log.open("ab") as out:
            argv = [*_BOUND, str(DAEMON), "--conf-dir", name]
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        daemon = cls(process, control, port)
        daemon._wait(address, log)
        return daemon

    def _wait(self, address: str, log: Path) -> None:
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection((address, self.port), 1).close()
                if Path(self.control).exists():
                    return
            time.sleep(_POLL)
        raise HostError(f"ovirt-imageio did not start: {log.read_text(errors='replace')[-2000:]}")

    def put(self, ticket: Json) -> None:
        self._call("PUT", ticket["uuid"], ticket)

    def extend(self, ticket: str, timeout: int) -> None:
        self._call("PATCH", ticket, {"timeout": timeout})

    def remove(self, ticket: str) -> None:
        self._call("DELETE", ticket)

    def get(self, ticket: str) -> Json | None:
        """What the daemon knows of a ticket; None if it has none with that ID."""
        status, body = self._ask("GET", ticket)
        if status == 404:
            return None
        found: Json = json.loads(body)
        return found

    def _call(self, method: str, ticket: str, body: Json | None = None) -> None:
        status, text = self._ask(method, ticket, body)
        if status >= 300:
            raise HostError(f"{method} of a ticket: {status} {text.decode(errors='replace')}")

    def _ask(self, method: str, ticket: str, body: Json | None = None) -> tuple[int, bytes]:
        connection = _UnixConnection(self.control)
        with contextlib.closing(connection):
            try:
                connection.request(
                    method, f"/tickets/{ticket}", json.dumps(body) if body is not None else None
                )
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError as error:
                raise HostError(f"the control socket of ovirt-imageio: {error}") from error

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Host:
    """The daemon of the host and that of the engine, which is its proxy."""

    address: str
    daemon: Daemon
    proxy: Daemon | None
    _servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def start(cls, address: str, pki: Pki, *, proxy: bool, max_connections: int) -> Host:
        Path("nbd").mkdir(exist_ok=True)
        daemon = Daemon.start("imageio", address, pki, max_connections=max_connections)
        second = Daemon.start("proxy", address, pki, max_connections=max_connections) if proxy else None
        return cls(address, daemon, second)

    def serve(self, transfer: str, image: str, image_format: str) -> str:
        """Start the NBD server of a transfer; returns the URL for its ticket."""
        path = f"nbd/{transfer[:18]}"
        Path(path).unlink(missing_ok=True)
        options = ("--persistent", "--shared=8", "--export-name=", "--read-only", f"--format={image_format}")
        with Path("nbd.log").open("ab") as log:
            # qemu-nbd and the daemon want an absolute path
            argv = [*_BOUND, "qemu-nbd", f"--socket=/proc/self/cwd/{path}", *options, image]
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._servers[transfer] = process
        end = time.monotonic() + _READY_SECONDS
        while not Path(path).exists():
            if process.poll() is not None or time.monotonic() > end:
                raise HostError(
                    f"qemu-nbd ended with {process.poll()}: {Path('nbd.log').read_text()[-1000:]}"
                )
            time.sleep(_POLL)
        return f"nbd:unix:/proc/self/cwd/{path}"

    def allow(self, ticket: Json) -> None:
        """Give a ticket to the daemons."""
        self.daemon.put(ticket)
        if self.proxy is not None:
            url = f"https://{self.address}:{self.daemon.port}/images/{ticket['uuid']}"
            self.proxy.put(ticket | {"url": url})

    def extend(self, ticket: str, timeout: int) -> None:
        for daemon in self._daemons():
            daemon.extend(ticket, timeout)

    def forbid(self, ticket: str) -> None:
        """Take a ticket from the daemons; running reads of it end with 403 or a cut connection."""
        for daemon in self._daemons():
            daemon.remove(ticket)

    def end(self, transfer: str) -> None:
        """Stop the NBD server of a transfer."""
        process = self._servers.pop(transfer, None)
        if process is not None:
            process.terminate()
            process.wait(30)

    def servers(self) -> list[str]:
        """The transfers whose NBD server runs."""
        return sorted(name for name, process in self._servers.items() if process.poll() is None)

    def stop(self) -> None:
        for transfer in list(self._servers):
            self.end(transfer)
        for daemon in self._daemons():
            daemon.stop()

    def _daemons(self) -> list[Daemon]:
        return [self.daemon, *([self.proxy] if self.proxy else [])]


def free_port(address: str) -> int:
    """A port of the address that nothing listens at now."""
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
