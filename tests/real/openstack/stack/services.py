"""The programs of the stack: their commands and environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .layout import HERE, LOOPBACK, VENV, Layout

_SERVE: Final = HERE / "stack" / "serve.py"
_BIN: Final = VENV / "bin"
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_WSGI: Final = {
    "keystone": "keystone.wsgi.api",
    "glance": "glance.wsgi.api",
    "cinder": "cinder.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
    "placement": "placement.wsgi.api",
    "neutron": "neutron.wsgi.api",
}

_Arguments = list[str | Path]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to start."""

    name: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def environment(layout: Layout) -> dict[str, str]:
    """The environment of each service and its tools; proxies would intercept requests between them."""
    etc = layout.etc
    return {
        "PATH": f"{_BIN}:{_SYSTEM_PATH}",
        "HOME": str(layout.state),
        "no_proxy": "*",
        "NO_PROXY": "*",
        "OS_KEYSTONE_CONFIG_DIR": str(etc / "keystone"),
        "OS_GLANCE_CONFIG_DIR": str(etc / "glance"),
        "OS_NOVA_CONFIG_DIR": str(etc / "nova"),
        "OS_NEUTRON_CONFIG_DIR": str(etc / "neutron"),
        "OS_PLACEMENT_CONFIG_DIR": str(etc / "placement"),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2.ini",
        "SPT_NOENV": "1",  # the process title that Neutron sets would overwrite the mark in its environment
        "MALLOC_ARENA_MAX": "2",  # a third less memory
    }


def database(layout: Layout) -> Program:
    """MariaDB on a socket only. A crash of the host may lose the last second, which is acceptable."""
    argv = [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        f"--datadir={layout.state / 'mysql'}",
        f"--socket={layout.socket}",
        f"--pid-file={layout.run / 'mariadbd'}",
        "--skip-networking",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=128M",
        "--performance-schema=OFF",
        "--max-connections=500",
    ]
    return Program(name="database", argv=argv, environment=environment(layout))


def mapper(layout: Layout) -> Program:
    """Erlang's epmd; the broker would start one that nothing stops."""
    argv = ["epmd", "-address", LOOPBACK, "-port", str(layout.mapper_port)]
    return Program(name="mapper", argv=argv, environment=environment(layout))


def broker(layout: Layout) -> Program:
    """RabbitMQ without Debian's wrapper, which would change to another user."""
    home = layout.state / "broker"
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    own = {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"vmferry{layout.settings.base_port}@localhost",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(layout.broker_port),
        "RABBITMQ_DIST_PORT": str(layout.distribution_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(layout.mapper_port),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback + " +S 1:1 +sbwt none",
    }
    argv = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
    return Program(name="broker", argv=argv, environment=environment(layout) | own)


def api(layout: Layout, name: str) -> Program:
    host, port = layout.bound(name)
    more = ["--config-file", str(layout.etc / "cinder" / "cinder.conf")] if name == "cinder" else []
    argv = [str(_BIN / "python"), "-P", str(_SERVE), _WSGI[name], host, str(port), *more]
    return Program(name=name, argv=argv, environment=environment(layout))


def daemons(layout: Layout) -> list[Program]:
    """The daemons that need no API to start."""
    cinder: _Arguments = ["--config-file", layout.etc / "cinder" / "cinder.conf"]
    nova: _Arguments = ["--config-file", layout.etc / "nova" / "nova.conf"]
    neutron = _neutron_files(layout)
    return [
        _daemon(layout, "cinder-scheduler", cinder),
        _daemon(layout, "cinder-volume", cinder),
        _daemon(layout, "nova-conductor", nova),
        _daemon(layout, "nova-scheduler", nova),
        _daemon(layout, "neutron-rpc-server", neutron),
    ]


def compute(layout: Layout) -> Program:
    """It looks for Placement's API once when it starts, and after that only each minute."""
    return _daemon(layout, "nova-compute", ["--config-file", layout.etc / "nova" / "nova.conf"])


def _neutron_files(layout: Layout) -> _Arguments:
    neutron = layout.etc / "neutron"
    return ["--config-file", neutron / "neutron.conf", "--config-file", neutron / "ml2.ini"]


def _daemon(layout: Layout, name: str, arguments: _Arguments) -> Program:
    argv = [str(_BIN / name), *map(str, arguments)]
    return Program(name=name, argv=argv, environment=environment(layout))


def terminator(layout: Layout) -> Program:
    """Nginx, which terminates TLS for all APIs."""
    argv = ["nginx", "-p", str(layout.state / "tls"), "-c", str(layout.state / "tls" / "nginx.conf")]
    return Program(name="terminator", argv=argv, environment=environment(layout))
