"""No secret is in any object, log, Event, termination message, command line or environment."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from steps.model import names
from steps.model.kinds import SECRET
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.test_retry import checked, no_room
from tests.real.argo.world import FAILED, RUNNING, Imported, World, a_vm

pytestmark = pytest.mark.argo
Make = Callable[..., World]

USER, PASSWORD = "canary-user", "canary-5f0c2e-password"
KINDS = (
    "pods,configmaps,events,services,persistentvolumeclaims,workflows.argoproj.io,workflowtaskresults.argoproj.io,"
    "virtualmachineimports.migration.harvesterhci.io,vmwaresources.migration.harvesterhci.io,"
    "virtualmachines.kubevirt.io"
)
IMAGES = "virtualmachineimages.harvesterhci.io,backingimages.longhorn.io"


def test_secrets_appear_nowhere(ground: Ground, make: Make, tmp_path: Path) -> None:
    vms = [a_vm(tmp_path, "well"), a_vm(tmp_path, "broken")]
    made = make(vms, username=USER, password=PASSWORD)
    # One import fails after it used every secret; the controller logs at debug level.
    broken = checked(made, "broken")
    with no_room(ground, made.namespace) as give_room:
        broken.annotate(approve="poweroff")
        broken.until(FAILED)
        give_room()
    ground.apply(made.manifest("well"))
    well = made.imported("well")
    tokens = [eventually(partial(token, ground, one), one.describe, 60) for one in (well, broken)]
    well.until(RUNNING)
    secrets = {
        "password": PASSWORD,
        "password, base64": base64.b64encode(PASSWORD.encode()).decode(),
        "CA key": _body(made.simulator.ca.with_name("ca.key"))
        if made.simulator.ca.with_name("ca.key").exists()
        else "",
        **{f"token {number}": token for number, token in enumerate(tokens)},
        **{f"lease ticket {number}": ticket for number, ticket in enumerate(tickets(made))},
        **{f"session {number}": key for number, key in enumerate(sessions(made))},
    }
    secrets = {name: value for name, value in secrets.items() if value}
    assert len(secrets) >= 6
    found = [
        f"{name} in {where}"
        for where, text in everything(ground, made)
        for name, value in secrets.items()
        if value in text
    ]
    assert found == []
    urls = ground.kubectl("get", IMAGES, "-A", "-o", "json")
    assert PASSWORD not in urls
    assert not [one for one in tokens if one in urls], "the token of a run does not lead to a disk"


def token(ground: Ground, imported: Imported) -> str:
    if imported.workflow is None:
        return ""
    found = ground.cluster.get(SECRET, names.address(imported.run), RELEASE)
    return base64.b64decode(found["data"]["token"]).decode() if found else ""


def tickets(made: World) -> Iterator[str]:
    for lease in made.simulator.leases(ended=True):
        if len(str(lease.get("ticket") or "")) > 8:
            yield str(lease["ticket"])


def sessions(made: World) -> Iterator[str]:
    """The values of the cookies: the IDs of the sessions at the source."""
    yield from {
        str(call["session"]) for call in made.simulator.calls() if len(str(call.get("session") or "")) > 8
    }


def everything(ground: Ground, made: World) -> Iterator[tuple[str, str]]:
    """(where, text) of all objects except Secrets, of the logs, and of what runs in the pods."""
    for namespace in (RELEASE, made.namespace):
        for thing in json.loads(ground.kubectl("get", KINDS, "-n", namespace, "-o", "json"))["items"]:
            thing["metadata"].pop("managedFields", None)
            yield f"{thing['kind']} {thing['metadata']['name']}", json.dumps(thing)
        for pod in json.loads(ground.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
            name = pod["metadata"]["name"]
            logs = ground.kubectl("logs", "-n", namespace, name, "--all-containers", "--tail=-1", check=False)
            yield f"log of {name}", logs
    for process in Path("/proc").glob("[0-9]*"):
        if _of_a_pod(process):
            yield (
                f"{process} (command line, environment)",
                _read(process / "cmdline") + _read(process / "environ"),
            )


def _of_a_pod(process: Path) -> bool:
    return "kubepods" in _read(process / "cgroup")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _body(pem: Path) -> str:
    """A line from the middle of a PEM file."""
    lines = [line for line in pem.read_text().splitlines() if re.fullmatch(r"[A-Za-z0-9+/=]{40,}", line)]
    return lines[len(lines) // 2] if lines else ""
