"""An embedded import's way into a cluster: which one, and where it fetches the disks from this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError
from steps.model.document import Document, write_atomically
from steps.model.kinds import IMAGE, Kind
from steps.model.names import PORT
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from workflows.stages import Stage

KUBECONFIG: Final = "KUBECONFIG"
ADDRESS: Final = "SVC_ADDRESS"
"""The name is that of today's controller, when it runs outside of a cluster."""
AIM: Final = "cluster.json"
TOKEN: Final = "token"  # noqa: S105 - a file's name
TOKEN_BYTES: Final = 24
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
RANGE: Final = 256
"""How many ports from the first one on are tried."""


class Aim(Document):
    """Where an import goes. It is kept with the import: a retry goes to the cluster it began with."""

    kubeconfig: str
    """Absolute paths, ':' between them."""
    host: str
    """Name or address of this machine as the cluster knows it; an IPv6 address in brackets."""
    port: int = PORT
    """Each disk that is served has a port of its own: this one, or the next that is free."""


def aim(environ: Mapping[str, str]) -> Aim:
    """What the environment says.

    Raises:
        StepError: INVALID, with what is missing and what to do.
    """
    files = [Path(name).expanduser() for name in environ.get(KUBECONFIG, "").split(os.pathsep) if name]
    if not files:
        raise StepError(
            Exit.INVALID, f"{KUBECONFIG} is not set", remedy="set it to the file that names the cluster"
        )
    if not any(file.is_file() for file in files):
        raise StepError(Exit.INVALID, f"no file at {files[0]}", remedy=f"mend {KUBECONFIG}")
    host, port = _address(environ.get(ADDRESS, ""))
    return Aim(kubeconfig=os.pathsep.join(str(file.absolute()) for file in files), host=host, port=port)


def _address(text: str) -> tuple[str, int]:
    if not text:
        raise StepError(
            Exit.INVALID,
            f"{ADDRESS} is not set",
            "the cluster fetches the disks from this machine",
            f"set it to HOST or HOST:PORT under which the cluster reaches this machine (port {PORT} and up)",
        )
    host, port = _parts(text)
    if not host:
        raise StepError(Exit.INVALID, f"{ADDRESS} {text!r} is no address", remedy="write HOST or HOST:PORT")
    return (f"[{host}]" if ":" in host else host), port


def _parts(text: str) -> tuple[str, int]:
    """Host and port; no host for what is neither."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        return "", PORT
    return (host, port) if parts.netloc == text and not set("@ ") & set(text) else ("", PORT)


def check(plans: Iterable[Plan], wanted: Aim) -> None:
    """Make sure before anything is touched that the cluster answers and the disks can be served.

    Raises:
        StepError: in the words of the cluster; INVALID without nginx, NOT_FOUND without the namespace.
    """
    if shutil.which("nginx") is None:
        raise StepError(Exit.INVALID, "nginx is missing", remedy="install the package nginx-light")
    cluster = connect(wanted)
    for name in dict.fromkeys(plan.target.namespace for plan in plans):
        cluster.find(IMAGE, name)
        try:
            found = cluster.get(NAMESPACE, name)
        except StepError as error:
            if error.code is not Exit.DENIED:  # who may work in a namespace need not be allowed to see it
                raise
        else:
            if found is None:
                remedy = "create it, or set metadata.namespace of the import"
                raise StepError(Exit.NOT_FOUND, f"the cluster has no namespace {name}", remedy=remedy)


def connect(wanted: Aim) -> Cluster:
    """The cluster an import goes to."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - an import into a folder needs no client for a cluster

    return kubeapi.connect(Stop(), patience=0, kubeconfig=wanted.kubeconfig)


class Ports:
    """The ports that imports beside each other serve their disks at."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, listen: str, wanted: list[int]) -> int:
        """The first of the ports that is free here.

        Raises:
            StepError: BUSY, when none is.
        """
        for port in wanted:
            if port not in self._taken and _is_free(listen, port):
                self._taken.add(port)
                return port
        raise StepError(
            Exit.BUSY,
            f"no port to serve a disk at: {wanted[-1] - RANGE + 1} to {wanted[-1]} are taken",
            remedy=f"name another in {ADDRESS}",
        )


class Way:
    """What the steps of one import are told about the cluster."""

    def __init__(self, rundir: RunDir, ports: Ports) -> None:
        self._notes = rundir.notes
        self._aim = Aim.load(rundir.notes / AIM)
        self._ports = ports
        self._listen = listening(self._aim.host)
        self._served: dict[str, int] = {}

    def environment(self) -> dict[str, str]:
        return {KUBECONFIG: self._aim.kubeconfig}

    def arguments(self, stage: Stage, disk: str | None) -> list[str]:
        """Beyond what every step is told: `serve` and `image` of a disk meet at an address."""
        if not stage.address or disk is None:
            return []
        meeting = ["--token-file", str(self._notes / TOKEN)]
        port = self._port(disk)
        if stage.name == "serve":
            return [*meeting, "--listen", f"{self._listen}:{port}"]
        return [*meeting, "--origin", f"http://{self._aim.host}:{port}"]

    def _port(self, disk: str) -> int:
        """The disk's port, after a retry that of before: what is being downloaded is gone on with then."""
        if disk not in self._served:
            note = self._notes / f"port-{disk}"
            before = [int(note.read_text())] if note.exists() else []
            after = range(self._aim.port, min(self._aim.port + RANGE, 1 << 16))
            self._served[disk] = self._ports.take(self._listen, [*before, *after])
            write_atomically(note, f"{self._served[disk]}\n")
        return self._served[disk]


def keep(rundir: RunDir, wanted: Aim) -> None:
    """Note with a new import where it goes, and make the part of its disks' URLs that nobody can guess."""
    wanted.save(rundir.notes / AIM)
    write_atomically(rundir.notes / TOKEN, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n", mode=0o600)


def listening(host: str) -> str:
    """The address to listen at: that very one where this machine has it, else all (as behind NAT)."""
    name = host.strip("[]")
    with_any = "[::]" if ":" in name else "0.0.0.0"  # noqa: S104 - behind NAT there is no other
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.bind(found[4])
    except OSError:
        return with_any
    address = str(found[4][0])
    return f"[{address}]" if ":" in address else address


def _is_free(listen: str, port: int) -> bool:
    name = listen.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nginx does
        try:
            probe.bind((name, port))
        except OSError:
            return False
    return True
