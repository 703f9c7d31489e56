"""Runs stages as plain pods, made one by one from the installed WorkflowTemplate, without Argo.

Argo's `{{…}}` are filled in here. Argo's `wait` container reads the results from a pod; here a container
named `outputs` in that pod prints the files. Nothing of a pod's /tmp is left after it has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from steps.model import names
from steps.model.contract import Exit, is_retryable
from steps.model.kinds import POD, WORKFLOW, Object
from steps.model.plan import Plan
from steps.model.power import POWER
from tests.real.cluster.lab import Lab
from tests.real.standins.process import eventually
from tests.unit.workflows.author.landed_rows import values as expressions
from workflows import argo_names
from workflows.author.pods import FETCH, RECORD
from workflows.status.nodes import node_id

STAGE_SECONDS: Final = 400.0
READER: Final = """\
import json, pathlib, sys, time
files = [pathlib.Path(name) for name in sys.argv[1:]]
while not all(file.exists() for file in files):
    time.sleep(0.1)
print(json.dumps({file.stem: file.read_text() for file in files}))
"""
WRITER: Final = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
MARK: Final = re.compile(r"\{\{.*?\}\}")


def pod_name(workflow: str, stage: str, disk: str = "", attempt: int = 0) -> str:
    """A pod's name in the form that Argo gives it; the chart's policy tells the run of a pod by it.

    argo-workflows workflow/util/pod_name.go: Workflow, template, and a hash of the node's name.
    """
    number = node_id(workflow, f"{workflow}.{disk}.{stage}({attempt})").rpartition("-")[2]
    return f"{workflow}-{stage}-{number}"


def record_result(lab: Lab, plan: Plan, machine: str) -> None:
    """Make the Workflow of a run, as Argo writes it after `preflight`. `admit` reads it.

    It is marked as completed: so a real Argo leaves it alone.
    """
    outputs = {"parameters": [{"name": "machine", "value": machine}]}
    node = {"id": "1", "name": f"{plan.run}.preflight", "displayName": "preflight", "type": "Retry"}
    status = {"phase": "Succeeded", "nodes": {"1": node | {"phase": "Succeeded", "outputs": outputs}}}
    labels = {**names.run_labels(plan), "workflows.argoproj.io/completed": "true"}
    lab.apply(
        {
            "apiVersion": WORKFLOW.api_version,
            "kind": WORKFLOW.kind,
            "metadata": {"name": plan.run, "namespace": lab.release, "labels": labels},
            "spec": {"entrypoint": "none", "templates": [{"name": "none", "suspend": {}}]},
            "status": status,
        }
    )


def record_success(lab: Lab, plan: Plan, stage: str, disk: str) -> None:
    """Add a stage of a disk to that Workflow. `hand-over` waits for `convert` there."""
    inputs = {"parameters": [{"name": "disk", "value": disk}]}
    node = {"id": f"{stage}-{disk}", "type": "Retry", "templateName": stage, "phase": "Succeeded"}
    change: Object = {"status": {"nodes": {f"{stage}-{disk}": node | {"inputs": inputs}}}}
    lab.cluster.patch(WORKFLOW, plan.run, change, lab.release)


@dataclass(frozen=True)
class Ended:
    """A stage's pod that has ended."""

    name: str
    code: int
    words: str
    """Its last words; empty after a success."""
    results: Mapping[str, str]


@dataclass(frozen=True)
class StagePods:
    """The pods of one run."""

    lab: Lab
    template: Object
    plan: Plan
    records: dict[str, str] = field(default_factory=dict)
    """Results that later stages need, by file name."""
    rows: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What `admit` returned about a disk in addition to its id: where it lands."""

    def run(self, stage: str, disk: str = "") -> Ended:
        """Run one stage for one disk or for the VM; it is retried as the contract says.

        Raises:
            AssertionError: with its last words, if it fails.
        """
        return self.finish(stage, disk, self.begin(stage, disk))

    def begin(self, stage: str, disk: str = "", attempt: int = 0) -> str:
        """Make the pod and do not wait for it."""
        made = self.manifest(stage, disk, attempt)
        self.lab.apply(made)
        return str(made["metadata"]["name"])

    def finish(self, stage: str, disk: str, pod: str) -> Ended:
        """Wait for the end of a started pod, or of the attempts that follow it."""
        limit = int(self._stage(stage)["retryStrategy"]["limit"])
        for attempt in range(1, limit + 2):
            ended = self.end(pod, stage)
            if ended.code == Exit.DONE:
                return ended
            again = is_retryable(ended.code) and attempt <= limit
            assert again, f"{pod} ended with {ended.code}: {ended.words}\n{self.lab.logs(pod, 'main')}"
            pod = self.begin(stage, disk, attempt)
        raise AssertionError(f"{stage} has no attempts")

    def end(self, pod: str, stage: str) -> Ended:
        """Wait for the stage's container and, after a success, for its results."""
        try:
            state = eventually(lambda: self._terminated(pod, "main"), f"the end of {pod}", STAGE_SECONDS)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.lab.message(pod)}") from None
        code, words = state["exitCode"], str(state.get("message", "")).strip()
        if code != Exit.DONE or not self._results(stage):
            return Ended(pod, code, words if code else "", {})
        eventually(lambda: self._terminated(pod, "outputs"), f"the results of {pod}")
        results = json.loads(self.lab.logs(pod, "outputs"))
        if stage == "poweroff":
            self.records[POWER] = results["power"]
        return Ended(pod, code, "", results)

    def manifest(self, stage: str, disk: str = "", attempt: int = 0) -> Object:
        """The pod of a stage."""
        given, spec = self._stage(stage), self.template["spec"]
        labels = {**spec["podMetadata"]["labels"], **given.get("metadata", {}).get("labels", {})}
        name = pod_name(self.plan.run, stage, disk, attempt)
        pod: Object = {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {"name": name, "namespace": self.lab.release, "labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": given.get("serviceAccountName", spec["serviceAccountName"]),
                "securityContext": given.get("securityContext", spec["securityContext"]),
                "terminationGracePeriodSeconds": 5,
                "initContainers": [self._init(one) for one in given.get("initContainers", [])],
                "containers": [given["container"] | {"name": "main"}, *self._reader(stage)],
                "volumes": given["volumes"],
            },
        }
        filled: Object = json.loads(self._filled(json.dumps(self._patched(pod, given, disk)), disk))
        return filled

    # --- inside

    def _stage(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.template["spec"]["templates"] if one["name"] == name]
        return dict(found)

    def _init(self, container: Object) -> Object:
        """The init container. No Workflow has the record of poweroff here, so it is written as it is."""
        if container["name"] != FETCH:
            return container
        arguments = [str(RECORD / POWER), self.records.get(POWER, "")]
        return container | {"command": ["python", "-c", WRITER], "args": arguments}

    def _results(self, stage: str) -> list[str]:
        wanted = self._stage(stage).get("outputs", {}).get("parameters", [])
        return [str(PurePosixPath(one["valueFrom"]["path"])) for one in wanted]

    def _reader(self, stage: str) -> list[Object]:
        files = self._results(stage)
        if not files:
            return []
        main = self._stage(stage)["container"]
        mounts = [mount | {"readOnly": True} for mount in main["volumeMounts"] if mount["name"] == "tmp"]
        same = {key: main[key] for key in ("image", "imagePullPolicy", "securityContext")}
        return [
            same
            | {"name": "outputs", "command": ["python", "-c", READER], "args": files, "volumeMounts": mounts}
        ]

    def _patched(self, pod: Object, stage: Object, disk: str) -> Object:
        """The pod with what the patches of the template give its program: a token, a volume with a disk."""
        every, own = (
            json.loads(self._filled(part.get("podSpecPatch", "{}"), disk))
            for part in (self.template["spec"], stage)
        )
        pod["spec"]["automountServiceAccountToken"] = every["automountServiceAccountToken"]
        for patch in own.get("containers", []):
            main = pod["spec"]["containers"][0]
            for listed in ("volumeMounts", "volumeDevices"):
                main[listed] = [*main.get(listed, []), *patch.get(listed, [])]
            named = {mount["name"] for mount in main["volumeMounts"]}
            token = [volume for volume in every["volumes"] if volume["name"] in named]
            pod["spec"]["volumes"] = [*pod["spec"]["volumes"], *token]
        return pod

    def _filled(self, text: str, disk: str) -> str:
        row = self.rows.get(disk, {})
        values = {
            "workflow.name": self.plan.run,
            "workflow.namespace": self.lab.release,
            "workflow.status": "Succeeded",
            "workflow.parameters.run": self.plan.run,
            "workflow.parameters.source": argo_names.DEFAULT,
            "workflow.parameters.undo": "false",
            "workflow.parameters.keep-off": "false",
            "inputs.parameters.halt": "Skipped",
            "inputs.parameters.disk": disk,
            **{f"inputs.parameters.{name}": value for name, value in row.items()},
            **{mark[2:-2].strip(): value for mark, value in (expressions(row) if row else {}).items()},
        }
        return MARK.sub(lambda mark: values[mark[0][2:-2].strip()], text)

    def _terminated(self, pod: str, container: str) -> Object | None:
        found = self.lab.get(POD, pod) or {}
        states = {one["name"]: one["state"] for one in found.get("status", {}).get("containerStatuses") or []}
        ended: Object | None = states.get(container, {}).get("terminated")
        return ended
