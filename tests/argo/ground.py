"""What every cluster test stands on: the lab, the images, the stand-ins, the chart; made once."""

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
from tests.standins.lab import Lab, NoLabError
from tests.standins.process import lab, reserved, running
from workflows.argo_names import LIMITS

ROOT: Final = Path(__file__).parents[2]
LAB: Final = ROOT / "tests" / "lab"
CHART: Final = ROOT / "charts" / "vmferry"
RELEASE: Final = "vmferry"
NET: Final = os.environ.get("LAB_NET", "10.199.0")
HOST: Final = f"{NET}.1"
"""The host's end of the wire: all that pods reach of it (tests/lab/settings.sh)."""
HELM: Final = ROOT / ".cache" / "bin" / "helm"
KUBECTL: Final = ROOT / ".cache" / "lab" / "bin" / "kubectl"
ARGO: Final = Path(
    os.environ.get(
        "LAB_ARGO", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vmferry/argo"
    )
)
ARGO_SERVER: Final = f"http://{NET}.2:2746"
VALUES: Final[Mapping[str, Any]] = {
    # Every debug line, so that what must not be in a log has the best chance to be there.
    # A check of a source is a program that starts: many worlds at once must not load the machine with those.
    "controller": {"debug": True, "recheckSeconds": 60},
    # A claim that waits for its first consumer is what most clusters have.
    "scratch": {"storageClass": "wffc"},
}
OPTIONS: Final = ("--default-class",)
"""Of the stand-ins: Longhorn's class is the default one, as in a Harvester."""
PREPARED: Final = "VMFERRY_GROUND"
"""Environment variable: the ground is there already."""
KEPT: Final = ROOT / ".cache" / "e2e"
"""What a run of the tests leaves for a person to read."""
T = TypeVar("T")


@dataclass
class Ground:
    """The lab with all that is in it."""

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
        """Install the chart, or change its values; returns when the controller is there."""
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
        """`helm uninstall`; empty when the chart is gone, else what Helm and its hook say."""
        command = [str(HELM), "uninstall", "vmferry", "--namespace", RELEASE, "--wait", "--timeout=200s"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode == 0:
            self.values = {"never": "installed"}
            return ""
        return done.stdout + done.stderr

    # --- objects

    def apply(self, *documents: Object) -> None:
        """As a person does it: one manifest, in this order.

        kubectl checks nothing itself: for that it fetches the OpenAPI document of every kind. With those of
        Harvester and KubeVirt, that costs the API server seconds at each call.
        """
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        self.kubectl("apply", "--validate=false", "-f", "-", stdin=manifest)

    def all(self, kind: Kind, namespace: str, **labels: str) -> list[Object]:
        return self.cluster.find(kind, namespace, labels)

    def limits(self, keys: Mapping[str, str | None]) -> None:
        """Set keys of the limits, or take them out."""
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
    """The lab up, the images in it, the stand-ins at work and the chart installed."""
    where = up()
    subprocess.run([ROOT / "tests" / "cluster" / "images"], check=True)
    with reserved(where), running(where, "--backoff", "1", "--grace", "2", *options):
        ground = attached(where)
        ground.values = {"never": "installed"}
        ground.install()
        restart(ground)
        yield ground


def attached(where: Lab) -> Ground:
    """The ground that another process has prepared (`python -m tests.argo`)."""
    os.environ["KUBECONFIG"] = str(where.kubeconfig)
    return Ground(where, kubeapi.connect(Stop(), patience=90))


def up() -> Lab:
    """The lab, started if none runs."""
    try:
        return lab()
    except NoLabError:
        subprocess.run([LAB / "up"], check=True)
        return lab()


def restart(ground: Ground) -> None:
    """A controller of the images that were built just now: their tag is the same, so nobody else does."""
    for pod in ground.controller_pods():
        ground.kubectl("delete", "pod", "-n", RELEASE, pod["metadata"]["name"], "--wait=true")
    ground.kubectl("rollout", "status", "-n", RELEASE, "deployment/vmferry-controller", "--timeout=180s")


def keep(name: str, text: str) -> None:
    """Leave something for a person to read."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / name).write_text(text, encoding="utf-8")


def has_argo() -> bool:
    return (ARGO / "workflow-controller").exists()


LONGEST: Final = 5
"""How many times its seconds a wait may take in all, however much moves."""


def eventually(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = 180.0) -> T:
    """What `look` gives once that is something; `what` says what is waited for, or how it stands.

    Where `what` is called, `seconds` is how long it may say the same: a loaded machine takes longer for every
    step and is no failure, a machine on which nothing moves is one.

    Raises:
        AssertionError: when nothing has moved for `seconds`, or all of it takes `LONGEST` times as long.
    """
    said = what if isinstance(what, str) else ""
    begun = moved = time.monotonic()
    while not (found := look()):
        now = time.monotonic()
        if not isinstance(what, str) and (told := what()) != said:
            said, moved = told, now
        if now > moved + seconds or now > begun + LONGEST * seconds:
            raise AssertionError(f"nothing moved for {now - moved:.0f} of {now - begun:.0f} s: {said}")
        # A look is several requests, and many tests look at once: a long wait must not load the API server.
        time.sleep(0.25 if now < begun + 3 else 2)
    return found


def _merged(base: Any, change: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    return {**base, **{key: _merged(base.get(key), value) for key, value in change.items()}}
