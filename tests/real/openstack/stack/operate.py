"""Start, stop and status."""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from . import catalog, clouds, initial, services, tls, venv
from .api import Api, answers
from .layout import APIS, CACHE, HERE, LOOPBACK, Layout, Settings, StackError, save, saved
from .processes import Processes
from .say import say

_SECONDS: Final = 240.0
"""Seconds for one service, on a host that has other work, too."""

_LAST: Final = ("broker", "mapper", "database")
"""Stopped in this order, after the programs that use them."""

_PROGRAMS: Final = ("mariadbd", "mariadb-install-db", "epmd", "qemu-img", "tar", "gzip")
_BROKER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def up(state: Path, settings: Settings) -> Layout:
    """Start the stack and wait until it is usable; does nothing if it is.

    Raises:
        StackError: the reason, with the end of the log that shows it.
    """
    layout = Layout(state=state, settings=settings)
    with _alone():
        if saved(state) == layout and _made_from(state) == _sources() and not lacking(layout):
            say("already running")
            return layout
        _needed(settings)
        _end(state)
        venv.ensure()
        processes = Processes(state)
        state.mkdir(parents=True, exist_ok=True)
        try:
            _start(layout, processes)
        except BaseException:
            processes.stop_all(_LAST)
            raise
    return layout


def install() -> None:
    """Build the services' environment, as `up` would; no stack that uses it may run."""
    with _alone():
        venv.ensure()


def down(state: Path) -> None:
    """End every process of the stack, also those of a start that was killed. Its state stays."""
    with _alone():
        _end(state)


@contextmanager
def away(layout: Layout) -> Iterator[None]:
    """Without Keystone for the duration: no log-in, and no other service can check a token.

    What Cinder, Glance and Nova have begun continues.
    """
    processes = Processes(layout.state)
    keystone = services.api(layout, "keystone")
    processes.stop(keystone.name)
    try:
        yield
    finally:
        _launch(processes, keystone)
        processes.await_ready(keystone.name, lambda: answers(layout, "keystone"), _SECONDS)


def lacking(layout: Layout) -> list[str]:
    """Programs that should run but do not; all of them if the start was not completed."""
    ready = layout.run / "ready"
    processes = Processes(layout.state)
    wanted = ready.read_text().split() if ready.exists() else ["start"]
    return [name for name in wanted if not processes.runs(name)]


def _sources() -> str:
    """The sources and versions from which a stack would be made now."""
    return venv.fingerprint(
        [*venv.plugin_files(), HERE / "requirements.txt", *sorted(Path(__file__).parent.glob("*.py"))]
    )


def _made_from(state: Path) -> str:
    """The sources and versions from which the running one was made."""
    made = state / "run" / "sources"
    return made.read_text() if made.exists() else ""


@contextmanager
def _alone() -> Iterator[None]:
    """Only one start or stop at a time: several tests may request one at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end(state: Path) -> None:
    if (state / "run").exists():
        (state / "run" / "ready").unlink(missing_ok=True)
        Processes(state).stop_all(_LAST)


def _needed(settings: Settings) -> None:
    names = [*_PROGRAMS, *(("nginx", "openssl") if settings.tls else ())]
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    missing = [name for name in names if shutil.which(name, path=path) is None]
    missing += [] if _BROKER.exists() else ["rabbitmq-server"]
    if missing:
        raise StackError(
            f"missing programs: {', '.join(missing)}; tests/real/openstack/prepare.sh installs them"
        )


def _start(layout: Layout, processes: Processes) -> None:
    _free(layout)
    began = datetime.now(UTC)
    initial.prepare(layout, processes)
    save(layout)
    api = Api(layout)
    _broker(layout, processes)
    _apis(layout, processes, api)
    say("the last daemon, and each service's report of itself")
    _launch(processes, services.compute(layout))
    _reported(api, processes, began)
    if layout.settings.tls:
        _terminator(layout, processes)
    say("first requests, one at a time")
    _warm(api)
    clouds.write(layout)
    (layout.run / "sources").write_text(_sources())
    (layout.run / "ready").write_text("\n".join(processes.names()) + "\n")
    say(f"ready: {layout.public('keystone')}/v3; OS_CLIENT_CONFIG_FILE={clouds.file(layout)} OS_CLOUD=admin")


def _free(layout: Layout) -> None:
    for host, port in layout.ports:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                remedy = "choose others with --base-port or another --host"
                raise StackError(
                    f"cannot listen on {host} port {port}: {error.strerror}; {remedy}"
                ) from error


def _launch(processes: Processes, program: services.Program) -> None:
    processes.log(program.name).unlink(missing_ok=True)
    processes.start(program.name, program.argv, program.environment)


def _broker(layout: Layout, processes: Processes) -> None:
    """Empty at each start: otherwise messages left by a killed stack would be processed again."""
    say("message broker")
    shutil.rmtree(layout.state / "broker", ignore_errors=True)
    (layout.state / "broker").mkdir()
    _launch(processes, services.mapper(layout))
    processes.await_ready("mapper", lambda: _open(LOOPBACK, layout.mapper_port), _SECONDS)
    _launch(processes, services.broker(layout))
    processes.await_ready("broker", lambda: _open(LOOPBACK, layout.broker_port), _SECONDS)


def _open(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def _apis(layout: Layout, processes: Processes, api: Api) -> None:
    say("Keystone")
    _launch(processes, services.api(layout, "keystone"))
    processes.await_ready("keystone", lambda: answers(layout, "keystone"), _SECONDS)
    api.login()
    catalog.enter(layout, api)
    others = [name for name in APIS if name != "keystone"]
    say(", ".join(name.capitalize() for name in others))
    for program in [services.api(layout, name) for name in others] + services.daemons(layout):
        _launch(processes, program)
    for name in others:
        processes.await_ready(name, lambda name=name: answers(layout, name), _SECONDS)  # type: ignore[misc]


def _reported(api: Api, processes: Processes, began: datetime) -> None:
    """Wait until each daemon of Nova and Cinder has reported itself since this start of the stack."""
    nova, cinder = "/v2.1/os-services", f"/v3/{api.project}/os-services"
    for daemon, program, path in (
        ("cinder-scheduler", "cinder", cinder),
        ("cinder-volume", "cinder", cinder),
        ("nova-conductor", "nova", nova),
        ("nova-scheduler", "nova", nova),
        ("nova-compute", "nova", nova),
    ):

        def alive(daemon: str = daemon, program: str = program, path: str = path) -> bool:
            known = api.get(program, path)["services"]
            return any(_alive(service, daemon, began) for service in known)

        processes.await_ready(daemon, alive, _SECONDS)
    # The scheduler learns the room for volumes from a message of its own; until then it refuses them.
    pools = f"/v3/{api.project}/scheduler-stats/get_pools"
    processes.await_ready("cinder-volume", lambda: bool(api.get("cinder", pools)["pools"]), _SECONDS)
    _host(api, processes)


def _alive(service: dict[str, str], daemon: str, began: datetime) -> bool:
    if service["binary"] != daemon or service["state"] != "up" or not service["updated_at"]:
        return False
    reported = datetime.fromisoformat(service["updated_at"]).replace(tzinfo=UTC)
    return reported > began - timedelta(seconds=1)  # written in whole seconds


def _host(api: Api, processes: Processes) -> None:
    """Wait until Nova's API knows the host and Placement can allocate its processors."""

    def known() -> bool:
        return bool(api.get("nova", "/v2.1/os-hypervisors")["hypervisors"])

    def offered() -> bool:
        return bool(api.get("placement", "/allocation_candidates?resources=VCPU:1")["provider_summaries"])

    if not known():
        initial.discover(api.layout)
    processes.await_ready("nova-compute", known, _SECONDS)
    processes.await_ready("nova-compute", offered, _SECONDS)


def _terminator(layout: Layout, processes: Processes) -> None:
    tls.write(layout)
    _launch(processes, services.terminator(layout))
    host = layout.settings.host
    processes.await_ready("terminator", lambda: _open(host, layout.public_port("neutron")), _SECONDS)


def _warm(api: Api) -> None:
    """Two first requests at once fail in Neutron, as the first one sets up its mappers."""
    for program, path in (
        ("neutron", "/v2.0/networks"),
        ("neutron", "/v2.0/ports"),
        ("glance", "/v2/images"),
        ("cinder", f"/v3/{api.project}/volumes/detail"),
        ("cinder", f"/v3/{api.project}/snapshots/detail"),
        ("nova", "/v2.1/servers/detail"),
        ("nova", "/v2.1/flavors/detail"),
    ):
        api.get(program, path)
