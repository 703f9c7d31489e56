"""The base of every cluster test: the lab, the images, the stand-ins and the chart. It is made once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from steps.model.kinds import CONFIG_MAP, Kind, Object
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from tests.real.standins.lab import Lab, NoLabError
from tests.real.standins.process import lab, reserved, running
from workflows.argo_names import LIMITS

ROOT: Final = Path(__file__).parents[3]
LAB: Final = ROOT / "tests" / "real" / "lab"
CHART: Final = ROOT / "charts" / "vmferry"
RELEASE: Final = "vmferry"
NET: Final = os.environ.get("LAB_NET", "10.199.0")
HOST: Final = f"{NET}.1"
"""The host's address on the lab's network, the only one outside that pods reach.

Tests/real/lab/settings.sh.
"""
HELM: Final = ROOT / ".cache" / "bin" / "helm"
KUBECTL: Final = ROOT / ".cache" / "lab" / "bin" / "kubectl"
ARGO: Final = Path(
    os.environ.get(
        "LAB_ARGO", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vmferry/argo"
    )
)
ARGO_SERVER: Final = f"http://{NET}.2:2746"
VALUES: Final[Mapping[str, Any]] = {
    # Log at debug level, so that a secret that must not be logged would appear. A check of a source starts a
    # program: many worlds at once must not overload the host with them.
    "controller": {"debug": True, "recheckSeconds": 60},
    # Most clusters have claims that wait for their first consumer.
    "scratch": {"storageClass": "wffc"},
    # These programs are pods in other clusters: the name server, and what downloads disks on the host.
    "egress": {"nameServers": [{"ipBlock": {"cidr": f"{NET}.2/32"}}]},
    "serve": {"networkPolicy": {"addresses": [HOST]}},
    "harvester": {"allowVolumes": True},
}
OPTIONS: Final = ("--default-class",)
"""Options of the stand-ins: Longhorn's class is the default one, as in Harvester."""
PREPARED: Final = "VMFERRY_GROUND"
"""Environment variable: the ground is already prepared."""
KEPT: Final = ROOT / ".cache" / "e2e"
"""Files that a test run leaves for people to read."""
T = TypeVar("T")


@dataclass
class Ground:
    """The lab with everything in it."""

    lab: Lab
    cluster: Cluster
    values: dict[str, Any] = field(default_factory=dict)

    # --- programs

    def kubectl(self, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        done = subprocess.run(
            [str(KUBECTL), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(argv)}: {done.stderr}")
        return done.stdout

    def argo(self, *argv: str) -> str:
        command = [str(ARGO / "argo"), "-n", RELEASE, *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def service(self, action: str, *names: str) -> None:
        """Stop, start, kill or restart a program of the lab."""
        subprocess.run([LAB / "service", action, *names], check=True, capture_output=True)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.lab.kubeconfig)}

    # --- the chart

    def install(self, **values: Any) -> None:
        """Install the chart or change its values; returns when the controller is ready."""
        if values == self.values:
            return
        command = [
            str(HELM),
            "upgrade",
            "--install",
            "vmferry",
            str(CHART),
            "--namespace",
            RELEASE,
            "--values",
            "-",
        ]
        text = json.dumps(_merged(dict(VALUES), values))
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env=self.environment
        )
        assert done.returncode == 0, done.stderr
        self.values = values
        self.kubectl("rollout", "status", "-n", RELEASE, "deployment/vmferry-controller", "--timeout=180s")

    def uninstall(self) -> str:
        """Run `helm uninstall`; returns "" if the chart is removed, otherwise what Helm and its hook say."""
        command = [str(HELM), "uninstall", "vmferry", "--namespace", RELEASE, "--wait", "--timeout=200s"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode == 0:
            self.values = {"never": "installed"}
            return ""
        return done.stdout + done.stderr

    # --- objects

    def apply(self, *documents: Object) -> None:
        """Apply one manifest as a user does, with the documents in this order.

        Validation by kubectl is off: for it, kubectl fetches the OpenAPI document of every kind. With the
        kinds of Harvester and KubeVirt, that costs the API server seconds at each call.
        """
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        self.kubectl("apply", "--validate=false", "-f", "-", stdin=manifest)

    def all(self, kind: Kind, namespace: str, **labels: str) -> list[Object]:
        return self.cluster.find(kind, namespace, labels)

    def limits(self, keys: Mapping[str, str | None]) -> None:
        """Set keys of the limits, or remove them."""
        self.cluster.patch(CONFIG_MAP, LIMITS, {"data": dict(keys)}, RELEASE)

    def controller_pods(self) -> list[Object]:
        listed = self.kubectl(
            *("get", "pods", "-n", RELEASE, "-l", "app.kubernetes.io/component=controller", "-o", "json")
        )
        items: list[Object] = json.loads(listed)["items"]
        return items

    def controller_log(self) -> str:
        return self.kubectl("logs", "-n", RELEASE, "deployment/vmferry-controller", "--tail=-1")


@contextlib.contextmanager
def prepared(*options: str) -> Iterator[Ground]:
    """Start the lab, load the images, start the stand-ins and install the chart."""
    where = up()
    subprocess.run([ROOT / "tests" / "real" / "cluster" / "images"], check=True)
    with reserved(where), running(where, "--backoff", "1", "--grace", "2", *options):
        yield installed(where)


def installed(where: Lab) -> Ground:
    """Install the chart with the images just built, into a lab that has them."""
    ground = attached(where)
    ground.values = {"never": "installed"}
    ground.install()
    restart(ground)
    return ground


def attached(where: Lab) -> Ground:
    """Use the ground that another process prepared (`python -m tests.real.argo`)."""
    os.environ["KUBECONFIG"] = str(where.kubeconfig)
    return Ground(where, kubeapi.connect(Stop(), patience=90))


def up() -> Lab:
    """Return the lab; start it if it is not running."""
    try:
        return lab()
    except NoLabError:
        subprocess.run([LAB / "up"], check=True)
        return lab()


def restart(ground: Ground) -> None:
    """Restart the controller with the images just built: as their tag is the same, nothing else would."""
    for pod in ground.controller_pods():
        ground.kubectl(
            "delete", "pod", "-n", RELEASE, pod["metadata"]["name"], "--wait=true", "--ignore-not-found"
        )
    ground.kubectl("rollout", "status", "-n", RELEASE, "deployment/vmferry-controller", "--timeout=180s")


def keep(name: str, text: str) -> None:
    """Save a file for a person to read."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / name).write_text(text, encoding="utf-8")


def has_argo() -> bool:
    return (ARGO / "workflow-controller").exists()


LONGEST: Final = 5
"""The factor by which a wait may exceed its seconds in total, while the state still changes."""


def eventually(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = 180.0) -> T:
    """Wait for `look` to return something true, and return it; `what` describes what is waited for, or the
    state.

    If `what` is a function, `seconds` is how long its text may stay the same: on a loaded host every step
    takes longer, which is not a failure; a host on which nothing changes is one.

    Raises:
        AssertionError: if nothing changed for `seconds`, or everything takes `LONGEST` times as long.
    """
    state = what if isinstance(what, str) else ""
    begun = moved = time.monotonic()
    while not (found := look()):
        now = time.monotonic()
        if not isinstance(what, str) and (new_state := what()) != state:
            state, moved = new_state, now
        if now > moved + seconds or now > begun + LONGEST * seconds:
            raise AssertionError(f"nothing moved for {now - moved:.0f} of {now - begun:.0f} s: {state}")
        # One call of `look` sends several requests and many tests poll at once: a long wait must not overload
        # the API server.
        time.sleep(0.25 if now < begun + 3 else 2)
    return found


def _merged(base: Any, change: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    return {**base, **{key: _merged(base.get(key), value) for key, value in change.items()}}
