"""The lab for the end-to-end tests: kubectl, helm, argo, and the objects in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, CONFIG_MAP, IMPORT, POD, SECRET, SERVICE, WORKFLOW, Kind, Object
from steps.model.names import LABEL_RUN
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from tests.real.standins.api import NAMESPACE
from tests.real.standins.lab import Lab as Place
from tests.real.standins.process import eventually
from tests.real.standins.process import lab as running_lab

ROOT: Final = Path(__file__).parents[3]
SCRIPTS: Final = ROOT / "tests" / "real" / "lab"
KUBECTL: Final = ROOT / ".cache" / "lab" / "bin" / "kubectl"
HELM: Final = os.environ.get("HELM") or str(ROOT / ".cache" / "bin" / "helm")
OURS: Final = "vmferry-tests"
"""Label of the namespaces that tests make; `reset` deletes them."""
UP_SECONDS: Final = 400.0


class CommandError(Exception):
    """A command that failed, with its output."""


@dataclass(frozen=True)
class Lab:
    """The running lab; `argo_folder` is empty if it has no real Argo."""

    place: Place
    host: str
    """The host's address, the only one outside that pods reach."""
    node: str
    """The node's address: of the API server, the kubelet and the name server."""
    release: str
    """The namespace of the chart, which Argo's controller watches."""
    argo_folder: str

    @classmethod
    def start(cls, *options: str, seconds: float = UP_SECONDS) -> Self:
        """The lab that LAB_NAME names, or the default one; it is started if it is not running.

        `options` are those of tests/real/lab/up.
        """
        command([str(SCRIPTS / "up"), *options], seconds=seconds)
        wanted = (
            f'source {SCRIPTS}/settings.sh; printf "%s\\n" "$HOST_IP" "$NODE_IP" "$RELEASE_NAMESPACE" "$ARGO"'
        )
        host, node, release, folder = command(["bash", "-c", wanted]).splitlines()
        has_argo = not command([str(SCRIPTS / "argo" / "install"), "--status"]).startswith("none")
        return cls(running_lab(), host, node, release, folder if has_argo else "")

    # --- programs

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.place.kubeconfig), "KUBECACHEDIR": str(self.place.state / "kubectl")}

    def kubectl(self, *arguments: str, given: str = "", seconds: float = 120.0) -> str:
        """Raises CommandError with its output."""
        return command([str(KUBECTL), *arguments], self.environment, given, seconds)

    def helm(self, *arguments: str, seconds: float = 180.0) -> str:
        return command([HELM, "--namespace", self.release, *arguments], self.environment, seconds=seconds)

    def argo(self, *arguments: str) -> str:
        """Argo's command line, directly against the API, as `argo` works without a server."""
        folder = Path(self.argo_folder)
        return command([str(folder / "argo"), "--namespace", self.release, *arguments], self.environment)

    # --- objects

    @cached_property
    def cluster(self) -> Cluster:
        """The API, as the user of the kubeconfig, who may do everything."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(self.place.kubeconfig))
            return kubeapi.connect(Stop())

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        return self.cluster.get(kind, name, namespace or (self.release if kind.namespaced else ""))

    def find(self, kind: Kind, namespace: str = "", **labels: str) -> list[Object]:
        """Objects with the labels in a namespace (default: the release's); empty for an unknown kind."""
        try:
            return self.cluster.find(kind, namespace or self.release, labels)
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            return []

    def apply(self, *manifests: Object) -> None:
        """Apply as a user does, by `kubectl apply`."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=listed(manifests))

    def make_namespace(self, name: str) -> str:
        """A namespace for imports with the objects that an import in it names; `reset` deletes it."""
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {OURS: ""}}}
        )
        account = ("default", name)
        eventually(lambda: self.get(Kind("v1", "ServiceAccount", "serviceaccounts"), *account), "an account")
        return name

    def logs(self, pod: str, container: str, namespace: str = "") -> str:
        return self.kubectl("--namespace", namespace or self.release, "logs", pod, "--container", container)

    def message(self, pod: str, namespace: str = "") -> str:
        """The state of a pod for a person: from its containers and its events."""
        found = self.get(POD, pod, namespace) or {}
        where = ("--namespace", namespace or self.release)
        events = self.kubectl(*where, "get", "events", "--field-selector", f"involvedObject.name={pod}")
        return f"{json.dumps(found.get('status', {}), indent=1)}\n{events}"

    def scale_controller(self, replicas: int) -> None:
        """Without the controller only the test changes an import."""
        where = ("--namespace", self.release)
        self.kubectl(*where, "scale", "deployment/vmferry-controller", f"--replicas={replicas}")
        label = {"app.kubernetes.io/component": "controller"}
        if replicas:
            self.kubectl(*where, "rollout", "status", "deployment/vmferry-controller", "--timeout=100s")
        else:
            eventually(lambda: not self.find(POD, **label), "the controller's end", 90.0)

    def reset(self) -> None:
        """Delete what tests made: imports, runs, namespaces. The controller may still have work to do."""
        spaces = [one["metadata"]["name"] for one in self.cluster.find(NAMESPACE, labels={OURS: ""})]
        for name in spaces:
            self._delete(self.find(IMPORT, name))
        for kind in (WORKFLOW, POD, CONFIG_MAP, SECRET, SERVICE, CLAIM):
            self._delete([one for one in self.find(kind) if LABEL_RUN in one["metadata"].get("labels", {})])
        for name in spaces:
            self.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=100s")

    def _delete(self, things: Iterable[Object]) -> None:
        for thing in things:
            metadata = thing["metadata"]
            kind = f"{thing['kind'].lower()}/{metadata['name']}"
            where = ("--namespace", metadata["namespace"])
            self.kubectl("delete", kind, *where, "--ignore-not-found", "--timeout=100s")


def listed(manifests: Iterable[Object]) -> str:
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    return json.dumps(document)


def command(
    argv: list[str], environment: Mapping[str, str] | None = None, given: str = "", seconds: float = 120.0
) -> str:
    """The output of a command. Raises CommandError."""
    done = subprocess.run(
        argv,
        env={**os.environ, **(environment or {})},
        input=given,
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode != 0:
        raise CommandError(
            f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}{done.stdout}"
        )
    return done.stdout
