"""The databases of a new stack, and the archive in which they are kept."""

from __future__ import annotations

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

_CELL: Final = "{{scheme}}://{{username}}@{{hostname}}/{}?{{query}}"
_CELL_BROKER: Final = "{scheme}://{username}:{password}@{hostname}:{port}/"
"""Nova fills these in from its own configuration whenever it reads them."""

_AT_ONCE: Final = 3
_DATABASE_SECONDS: Final = 60.0
_KEPT: Final = ("mysql", "keystone", "passwords.json")
"""The archived part of the state: everything that the first start makes and later ones need."""


def prepare(layout: Layout, processes: Processes) -> None:
    """Prepare a state that has its schemas and a running database; a state of other versions is made again.

    Raises:
        StackError: a tool of a service failed.
    """
    note, recipe = layout.state / "initialised", _recipe()
    present = note.exists() and note.read_text() == recipe
    if not present:
        shutil.rmtree(layout.state, ignore_errors=True)
    _make_folders(layout)
    if not present and _archive().exists():
        say("restoring the empty state")
        _tar(["-xf", str(_archive()), "-C", str(layout.state)])
        note.write_text(recipe)
        present = True
    config.write(layout)
    if not present:
        _first(layout, processes)
        say("keeping the empty state for later starts")
        processes.stop("database")
        _keep(layout)
        note.write_text(recipe)
    _start_database(layout, processes)


def _make_folders(layout: Layout) -> None:
    for folder in config.folders(layout):
        folder.mkdir(parents=True, exist_ok=True)


def _recipe() -> str:
    """The versions and settings from which the databases are made."""
    return venv.fingerprint([HERE / "requirements.txt", Path(__file__)])


def _archive() -> Path:
    """Usable for every state of one recipe: it contains no path and no port of the first one."""
    return CACHE / f"empty-{_recipe()[:16]}.tar.gz"


def _keep(layout: Layout) -> None:
    for older in CACHE.glob("empty-*"):
        older.unlink()
    part = _archive().with_suffix(".part")
    _tar(["-I", "gzip -1", "-cSf", str(part), "-C", str(layout.state), *_KEPT])
    part.rename(_archive())


def _tar(arguments: Sequence[str]) -> None:
    _tool(["tar", *arguments], dict(os.environ))


def _start_database(layout: Layout, processes: Processes) -> None:
    program = services.database(layout)
    layout.socket.unlink(missing_ok=True)
    processes.start(program.name, program.argv, program.environment)
    processes.await_ready(program.name, layout.socket.exists, _DATABASE_SECONDS)


def _first(layout: Layout, processes: Processes) -> None:
    say("making the databases, once: 20 s to 90 s")
    around = processes.environment(services.environment(layout))
    install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={layout.state / 'mysql'}"]
    _tool([*install, "--auth-root-authentication-method=normal", "--skip-test-db"], around)
    _start_database(layout, processes)
    client = ["mariadb", "--no-defaults", "--user=root", f"--socket={layout.socket}"]
    wait(lambda: _answers(client), _DATABASE_SECONDS)
    statements = "".join(f"CREATE DATABASE {name} CHARACTER SET utf8mb3;" for name in DATABASES)
    _tool([*client, "--execute", statements], around)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for outcome in [pool.submit(_chain, chain, around) for chain in _schemas(layout)]:
            outcome.result()


def _answers(client: Sequence[str]) -> bool:
    return (
        subprocess.run([*client, "--execute", "SELECT 1"], capture_output=True, check=False).returncode == 0
    )


def _schemas(layout: Layout) -> list[list[list[str]]]:
    """Per service the commands of its own tool, in order; the service that takes longest is first."""
    etc, password = layout.etc, config.passwords(layout)["admin"]

    def tool(name: str, *files: str) -> list[str]:
        return [
            str(VENV / "bin" / name),
            *(part for file in files for part in ("--config-file", str(etc / file))),
        ]

    nova = tool("nova-manage", "nova/nova.conf")
    cell = ["--transport-url", _CELL_BROKER, "--database_connection", _CELL.format("nova")]
    keystone = tool("keystone-manage", "keystone/keystone.conf")
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    # With "=", because one random password in 64 begins with a dash.
    bootstrap = ["bootstrap", f"--bootstrap-password={password}", "--bootstrap-region-id", REGION]
    return [
        [[*tool("neutron-db-manage", "neutron/neutron.conf", "neutron/ml2.ini"), "upgrade", "heads"]],
        [
            [*nova, "api_db", "sync"],
            [*nova, "cell_v2", "map_cell0", "--database_connection", _CELL.format("nova_cell0")],
            [*nova, "cell_v2", "create_cell", "--name", "cell1", *cell],
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
    """Register the host in Nova's API after it has reported itself."""
    nova = [str(VENV / "bin" / "nova-manage"), "--config-file", str(layout.etc / "nova" / "nova.conf")]
    _tool([*nova, "cell_v2", "discover_hosts"], services.environment(layout))
