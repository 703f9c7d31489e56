"""The databases of a stack that has never run, and the archive they are kept in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from . import config, services, venv
from .layout import CACHE, DATABASES, HERE, REGION, VENV, Layout, StackError
from .processes import Processes, wait
from .say import say

_AT_ONCE: Final = 3
_DATABASE_SECONDS: Final = 60.0
_KEPT: Final = ("mysql", "keystone", "passwords.json")
"""Of the state, in the archive: all that the first start makes and later ones need."""


def prepare(layout: Layout, processes: Processes) -> None:
    """Leave a state whose schemas are there, with the database running.

    Raises:
        StackError: a tool of a service failed.
    """
    done = layout.state / "initialised"
    archive = _archive(layout)
    if not done.exists():
        shutil.rmtree(layout.state, ignore_errors=True)
        _make_folders(layout)
        if archive.exists():
            say("restoring the empty state")
            _tar(["-xf", str(archive), "-C", str(layout.state)])
            done.touch()
    _make_folders(layout)
    config.write(layout)
    if done.exists():
        _start_database(layout, processes)
        return
    _first(layout, processes)
    say("keeping the empty state for later starts")
    processes.stop("database")
    _keep(layout, archive)
    done.touch()
    _start_database(layout, processes)


def _make_folders(layout: Layout) -> None:
    for folder in config.folders(layout):
        folder.mkdir(parents=True, exist_ok=True)


def _archive(layout: Layout) -> Path:
    """Databases hold addresses and paths of their state, and schemas are those of one version."""
    requirements = venv.fingerprint([HERE / "requirements.txt", Path(__file__)])
    named = f"{requirements} {layout.state} {layout.broker} {layout.socket}"
    return CACHE / f"empty-{hashlib.sha256(named.encode()).hexdigest()[:16]}.tar.gz"


def _keep(layout: Layout, archive: Path) -> None:
    for older in CACHE.glob("empty-*"):
        older.unlink()
    part = archive.with_suffix(".part")
    _tar(["-I", "gzip -1", "-cSf", str(part), "-C", str(layout.state), *_KEPT])
    part.rename(archive)


def _tar(arguments: Sequence[str]) -> None:
    _tool(["tar", *arguments], dict(os.environ))


def _start_database(layout: Layout, processes: Processes) -> None:
    program = services.database(layout)
    layout.socket.unlink(missing_ok=True)
    processes.start(program.name, program.argv, program.environment)
    processes.await_ready(program.name, layout.socket.exists, _DATABASE_SECONDS)


def _first(layout: Layout, processes: Processes) -> None:
    say("making the databases, once: 20 s to 90 s")
    data = layout.state / "mysql"
    _tool(
        [
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            f"--datadir={data}",
            "--user=root",
            "--skip-test-db",
        ],
        services.environment(layout),
    )
    _start_database(layout, processes)
    statements = "".join(f"CREATE DATABASE {name} CHARACTER SET utf8mb3;" for name in DATABASES)
    client = ["mariadb", "--no-defaults", "--user=root", f"--socket={layout.socket}"]
    wait(lambda: _answers(client), _DATABASE_SECONDS)
    _tool([*client, "--execute", statements], services.environment(layout))
    around = processes.environment(services.environment(layout))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for outcome in [pool.submit(_chain, chain, around) for chain in _schemas(layout)]:
            outcome.result()


def _answers(client: Sequence[str]) -> bool:
    return (
        subprocess.run([*client, "--execute", "SELECT 1"], capture_output=True, check=False).returncode == 0
    )


def _schemas(layout: Layout) -> list[list[list[str]]]:
    """Per service, what its own tool does one after the other; the longest first."""
    etc, password = layout.etc, config.passwords(layout)["admin"]

    def tool(name: str, *files: str) -> list[str]:
        return [
            str(VENV / "bin" / name),
            *(part for file in files for part in ("--config-file", str(etc / file))),
        ]

    nova = tool("nova-manage", "nova/nova.conf")
    keystone = tool("keystone-manage", "keystone/keystone.conf")
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    bootstrap = ["bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", REGION]
    return [
        [[*tool("neutron-db-manage", "neutron/neutron.conf", "neutron/ml2.ini"), "upgrade", "heads"]],
        [
            [*nova, "api_db", "sync"],
            [*nova, "cell_v2", "map_cell0", "--database_connection", layout.database("nova_cell0")],
            [*nova, "cell_v2", "create_cell", "--name", "cell1"],
            [*nova, "db", "sync"],
        ],
        [
            [*keystone, "db_sync"],
            [*keystone, "fernet_setup", *owner],
            [*keystone, "credential_setup", *owner],
            [*keystone, *bootstrap],
        ],
        [[*tool("cinder-manage", "cinder/cinder.conf"), "db", "sync"]],
        [[*tool("glance-manage", "glance/glance-api.conf"), "db_sync"]],
        [[*tool("placement-manage", "placement/placement.conf"), "db", "sync"]],
    ]


def _chain(commands: Sequence[Sequence[str]], around: dict[str, str]) -> None:
    for argv in commands:
        _tool(argv, around)


def _tool(argv: Sequence[str], around: dict[str, str]) -> None:
    done = subprocess.run(argv, env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        name = " ".join([Path(argv[0]).name, *(word for word in argv[1:] if not word.startswith(("-", "/")))])
        raise StackError(f"{name} failed with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def discover(layout: Layout) -> None:
    """Tell Nova's API of the host, once it has reported itself."""
    nova = [str(VENV / "bin" / "nova-manage"), "--config-file", str(layout.etc / "nova" / "nova.conf")]
    _tool([*nova, "cell_v2", "discover_hosts"], services.environment(layout))
