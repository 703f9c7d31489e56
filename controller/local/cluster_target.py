"""The target cluster of an embedded import, and the address at which it fetches disks from this host."""

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
from steps.image import ADDRESS_ENV
from steps.model.contract import Exit, StepError
from steps.model.document import Document, write_atomically
from steps.model.kinds import Kind
from steps.model.names import PORT
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.serve import scheme, tls_folder
from steps.targets import disk_objects
from workflows.stages import Stage

KUBECONFIG: Final = "KUBECONFIG"
TARGET: Final = "cluster.json"
TOKEN: Final = "token"  # noqa: S105 - a file's name
TOKEN_BYTES: Final = 24
TLS_ENV: Final = "VMFERRY_SERVE_TLS"
"""Folder with tls.crt and tls.key, by which the disks are served over HTTPS."""
CA: Final = "ca.crt"
"""In that folder, unless a CA of the system has signed the certificate."""
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
PORTS_TRIED: Final = 256
"""Number of ports to try, from the first one on."""


class ClusterTarget(Document):
    """The target cluster. It is saved with the import: a retry uses the same cluster."""

    kubeconfig: str
    """Absolute paths, separated by ':'."""
    host: str
    """Name or address of this host as the cluster reaches it; an IPv6 address in brackets."""
    port: int = PORT
    """Each served disk has its own port: this one, or the next free one."""
    tls: str = ""
    """The folder of the certificate, an absolute path; empty for HTTP."""


def from_environment(environ: Mapping[str, str]) -> ClusterTarget:
    """Read the target cluster from the environment.

    Raises:
        StepError: INVALID, with what is missing and what to do.
    """
    files = [Path(name).expanduser() for name in environ.get(KUBECONFIG, "").split(os.pathsep) if name]
    if not files:
        raise StepError(
            Exit.INVALID, f"{KUBECONFIG} is not set", remedy="set it to the kubeconfig file of the cluster"
        )
    if not any(file.is_file() for file in files):
        raise StepError(
            Exit.INVALID, f"{KUBECONFIG} is not valid", f"{files[0]} does not exist", "correct the path"
        )
    host, port = _address(environ.get(ADDRESS_ENV, ""))
    tls = tls_folder(Path(environ[TLS_ENV]).expanduser()) if environ.get(TLS_ENV) else ""
    return ClusterTarget(
        kubeconfig=os.pathsep.join(str(file.absolute()) for file in files), host=host, port=port, tls=str(tls)
    )


def _address(text: str) -> tuple[str, int]:
    if not text:
        raise StepError(
            Exit.INVALID,
            f"{ADDRESS_ENV} is not set",
            "the cluster fetches the disks from this host",
            f"set it to the HOST or HOST:PORT at which the cluster reaches this host (port {PORT} and up)",
        )
    host, port = _parts(text)
    if not host:
        failure = f"{ADDRESS_ENV} {text!r} is not an address"
        raise StepError(Exit.INVALID, failure, remedy="write HOST or HOST:PORT")
    return (f"[{host}]" if ":" in host else host), port


def _parts(text: str) -> tuple[str, int]:
    """Host and port; an empty host if the text is not an address."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        return "", PORT
    return (host, port) if parts.netloc == text and not set("@ ") & set(text) else ("", PORT)


def check(plans: Iterable[Plan], target: ClusterTarget) -> None:
    """Check before anything changes that the cluster answers and the disks can be served.

    Raises:
        StepError: the cluster's error; INVALID without nginx, NOT_FOUND without the namespace.
    """
    if shutil.which("nginx") is None:
        raise StepError(Exit.INVALID, "nginx is missing", remedy="install the package nginx-light")
    cluster = connect(target)
    wanted = dict.fromkeys((plan.target.namespace, disk_objects(plan).kind) for plan in plans)
    for name, kind in wanted:
        cluster.find(kind, name)
        try:
            namespace = cluster.get(NAMESPACE, name)
        except StepError as error:
            if error.code is not Exit.DENIED:  # a user of a namespace need not be allowed to read it
                raise
        else:
            if namespace is None:
                remedy = "create it, or set metadata.namespace of the import"
                raise StepError(Exit.NOT_FOUND, f"the cluster has no namespace {name}", remedy=remedy)


def connect(target: ClusterTarget) -> Cluster:
    """A client for the target cluster."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - only an import into a cluster needs its client

    return kubeapi.connect(Stop(), patience=0, kubeconfig=target.kubeconfig)


class PortAllocator:
    """The ports at which parallel imports serve their disks."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, listen: str, wanted: list[int]) -> int:
        """Take the first free one of the wanted ports.

        Raises:
            StepError: BUSY, if none is free.
        """
        for port in wanted:
            if port not in self._taken and _is_free(listen, port):
                self._taken.add(port)
                return port
        raise StepError(
            Exit.BUSY,
            "no free port to serve a disk",
            f"ports {wanted[-1] - PORTS_TRIED + 1} to {wanted[-1]} are in use",
            f"set another port in {ADDRESS_ENV}",
        )


class ClusterArguments:
    """Environment and arguments by which the steps of one import know the cluster."""

    def __init__(self, rundir: RunDir, ports: PortAllocator) -> None:
        self._notes = rundir.notes
        self._target = ClusterTarget.load(rundir.notes / TARGET)
        self._ports = ports
        self._listen = listen_address(self._target.host)
        self._served: dict[str, int] = {}

    def environment(self) -> dict[str, str]:
        return {KUBECONFIG: self._target.kubeconfig}

    def arguments(self, stage: Stage, disk: str | None) -> list[str]:
        """Further arguments: `serve` and `image` of a disk need a common address."""
        if not stage.address or disk is None:
            return []
        token = ["--token-file", str(self._notes / TOKEN)]
        port = self._port(disk)
        tls = self._target.tls
        if stage.name == "serve":
            return [*token, "--listen", f"{self._listen}:{port}", *(["--tls", tls] if tls else [])]
        ca = Path(tls) / CA
        trust = ["--ca", str(ca)] if tls and ca.exists() else []
        return [
            *token,
            "--origin",
            f"{scheme(Path(tls) if tls else None)}://{self._target.host}:{port}",
            *trust,
        ]

    def _port(self, disk: str) -> int:
        """The disk's port. A retry reuses it if it is free: a firewall may allow only some ports."""
        if disk not in self._served:
            note = self._notes / f"port-{disk}"
            before = [int(note.read_text())] if note.exists() else []
            after = range(self._target.port, min(self._target.port + PORTS_TRIED, 1 << 16))
            self._served[disk] = self._ports.take(self._listen, [*before, *after])
            write_atomically(note, f"{self._served[disk]}\n")
        return self._served[disk]


def save(rundir: RunDir, target: ClusterTarget) -> None:
    """Save the target with a new import, and create the token in the URLs of its disks' descriptions."""
    target.save(rundir.notes / TARGET)
    write_atomically(rundir.notes / TOKEN, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n", mode=0o600)


def listen_address(host: str) -> str:
    """The address to listen at: `host` if this host has it, else all addresses (as behind NAT)."""
    name = host.strip("[]")
    every_address = "[::]" if ":" in name else "0.0.0.0"  # noqa: S104 - needed behind NAT
    try:
        resolved = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(resolved[0], socket.SOCK_STREAM) as probe:
            probe.bind(resolved[4])
    except OSError:
        return every_address
    address = str(resolved[4][0])
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
