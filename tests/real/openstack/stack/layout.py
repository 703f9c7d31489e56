"""The paths and addresses of everything in a stack."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parents[1]
ROOT: Final = HERE.parents[2]
CACHE: Final = ROOT / ".cache" / "openstack"
VENV: Final = CACHE / "venv"
REGION: Final = "RegionOne"

APIS: Final = ("keystone", "glance", "cinder", "nova", "placement", "neutron")
"""In the order of their ports."""

LOOPBACK: Final = "127.0.0.1"
DATABASES: Final = (*APIS, "nova_api", "nova_cell0")

_BEHIND: Final = 20  # offset of an API's own port; nginx has the public one
_BROKER: Final = 10
_MAPPER: Final = 11
_DISTRIBUTION: Final = 12


class StackError(Exception):
    """The stack cannot be started: one line, and sometimes the end of a log."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings with which a running stack was started."""

    host: str = LOOPBACK
    base_port: int = 15000
    tls: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Paths and addresses of one stack."""

    state: Path
    settings: Settings

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def etc(self) -> Path:
        return self.state / "etc"

    @property
    def socket(self) -> Path:
        return self.state / "mysql.sock"

    @property
    def volumes(self) -> Path:
        """Cinder's volumes and snapshots."""
        return self.state / "volumes"

    @property
    def disks(self) -> Path:
        """Nova's local disks."""
        return self.state / "disks"

    @property
    def images(self) -> Path:
        return self.state / "glance" / "images"

    @property
    def authority(self) -> Path:
        return self.state / "tls" / "ca.pem"

    def database(self, name: str) -> str:
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}&charset=utf8mb4"

    @property
    def broker(self) -> str:
        return f"rabbit://guest:guest@{LOOPBACK}:{self.broker_port}/"

    @property
    def broker_port(self) -> int:
        return self.settings.base_port + _BROKER

    @property
    def mapper_port(self) -> int:
        """The port of Erlang's epmd."""
        return self.settings.base_port + _MAPPER

    @property
    def distribution_port(self) -> int:
        """The port for the broker's own tools."""
        return self.settings.base_port + _DISTRIBUTION

    def public_port(self, api: str) -> int:
        return self.settings.base_port + APIS.index(api)

    def bound(self, api: str) -> tuple[str, int]:
        """The address on which the API's own process listens."""
        if self.settings.tls:
            return LOOPBACK, self.public_port(api) + _BEHIND
        return self.settings.host, self.public_port(api)

    def inner(self, api: str) -> str:
        """Without a path: the address that the services use among themselves, always plain HTTP."""
        host, port = self.bound(api)
        return f"http://{_bracketed(host)}:{port}"

    def public(self, api: str) -> str:
        """Without a path: the address that clients use."""
        scheme = "https" if self.settings.tls else "http"
        return f"{scheme}://{_bracketed(self.settings.host)}:{self.public_port(api)}"

    @property
    def ports(self) -> list[tuple[str, int]]:
        """All ports on which the stack listens."""
        apis = [self.bound(api) for api in APIS]
        if self.settings.tls:
            apis += [(self.settings.host, self.public_port(api)) for api in APIS]
        own = (self.broker_port, self.mapper_port, self.distribution_port)
        return apis + [(LOOPBACK, port) for port in own]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def save(layout: Layout) -> None:
    (layout.state / "settings.json").write_text(json.dumps(asdict(layout.settings)) + "\n")


def saved(state: Path) -> Layout | None:
    """The stack that was last started there."""
    try:
        return Layout(state=state, settings=Settings(**json.loads((state / "settings.json").read_text())))
    except FileNotFoundError:
        return None
