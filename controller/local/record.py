"""The state of an embedded run: the nodes that Argo would have, saved at every change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from steps.model.contract import Exit
from steps.model.kinds import GROUP, WORKFLOW
from workflows.api.conditions import TIME
from workflows.author.dag import DISKS, FINISH, IMPORT, ON_EXIT, PARENT, TRANSFER, home
from workflows.stages import CLEANUP, Scope, Stage
from workflows.status.nodes import MAIN, Json, Phase, attempt_of, node_id

INTERRUPTED = "the runner was killed while this step ran"
UNDONE: Final = f"{GROUP}/undone"
"""Annotation of a run that was undone: when."""
GROUPS = (TRANSFER, FINISH)
"""The DAGs inside the DAG of the whole import."""
"""The last part of the exit handler's node name; the node is a DAG."""


def now() -> str:
    return datetime.now(UTC).strftime(TIME)


class Record:
    """The Workflow object of an embedded run. Every method that changes it saves it at the end."""

    def __init__(self, workflow: Json, save: Callable[[Json], None]) -> None:
        self.workflow = workflow
        self._save = save
        self._name: str = workflow["metadata"]["name"]
        self._nodes: dict[str, Json] = workflow["status"]["nodes"]

    @classmethod
    def new(cls, name: str, labels: Mapping[str, str], save: Callable[[Json], None]) -> Record:
        """A run that has not started."""
        workflow: Json = {
            "apiVersion": WORKFLOW.api_version,
            "kind": WORKFLOW.kind,
            "metadata": {"name": name, "creationTimestamp": now(), "labels": dict(labels)},
            "status": {"phase": Phase.RUNNING, "startedAt": now(), "finishedAt": None, "nodes": {}},
        }
        record = cls(workflow, save)
        record._group(name, "DAG", IMPORT, None)
        record.save()
        return record

    def save(self) -> None:
        self._save(self.workflow)

    # --- names

    def path(self, stage: Stage, disk: str | None, disks: Iterable[str] = ()) -> str:
        """The node name of a stage, as Argo builds it from the enclosing groups."""
        if stage.scope is Scope.EXIT:
            return f"{self._name}.{ON_EXIT}.{stage.name}"
        group = next((dag for dag in GROUPS if dag in (home(stage), PARENT.get(home(stage)))), "")
        parent = f"{self._name}.{group}" if group else self._name
        if disk is not None:
            parent = f"{parent}.{DISKS}({list(disks).index(disk)}:{disk})"
        return f"{parent}.{stage.name}"

    # --- queries of the scheduler

    def phase(self, path: str) -> Phase | None:
        """The phase of a stage; None if it has not started."""
        node = self._nodes.get(node_id(self._name, path))
        return Phase(node["phase"]) if node else None

    def failed(self) -> bool:
        return any(node["type"] == "Retry" and Phase(node["phase"]).failed for node in self._nodes.values())

    # --- changes by the scheduler

    def begin(self, path: str, stage: Stage, disk: str | None) -> int:
        """Start a new attempt of a stage; returns its number."""
        self._groups(path, disk)
        parent = self._node(path, "Retry", stage.name, disk)
        parent.update(phase=Phase.RUNNING, finishedAt=None)
        parent.pop("message", None)
        number = len(parent.setdefault("children", []))
        attempt = self._node(f"{path}({number})", "Pod", stage.name, disk)
        attempt.update(phase=Phase.RUNNING, nodeFlag={"retried": True}, progress="0/1")
        parent["children"].append(attempt["id"])
        self.save()
        return number

    def progress(self, path: str, number: int, done: int, total: int) -> bool:
        """Record a step's progress; False if it is unchanged."""
        text = f"{done}/{total}"
        nodes = [self._nodes[node_id(self._name, name)] for name in (f"{path}({number})", path)]
        if nodes[0].get("progress") == text:
            return False
        for node in nodes:
            node["progress"] = text
        self.save()
        return True

    def end(
        self,
        path: str,
        number: int,
        code: int,
        words: str,
        outputs: Mapping[str, str],
        container: str = MAIN,
    ) -> None:
        """End an attempt with its exit code and termination message, as those of that container."""
        attempt = self._nodes[node_id(self._name, f"{path}({number})")]
        phase = Phase.SUCCEEDED if code == Exit.DONE else Phase.FAILED
        results: Json = {"exitCode": str(code)}
        if outputs:
            results["parameters"] = [{"name": name, "value": value} for name, value in outputs.items()]
        attempt.update(phase=phase, finishedAt=now(), outputs=results)
        if phase is Phase.FAILED:
            attempt["message"] = f"{container}: Error (exit code {code}): {words}".rstrip(": ")
        self.save()

    def note(self, path: str, number: int, message: str) -> None:
        """Keep the message of an attempt that has succeeded."""
        self._nodes[node_id(self._name, f"{path}({number})")]["message"] = message
        self.save()

    def end_stage(self, path: str, message: str = "") -> None:
        """End a stage with the phase of its last attempt."""
        stage = self._nodes[node_id(self._name, path)]
        last = self._nodes[stage["children"][-1]]
        stage.update(phase=last["phase"], finishedAt=now(), outputs=last.get("outputs", {}))
        if message:
            stage["message"] = message
        self.save()

    def skip(self, path: str, stage: Stage, disk: str | None, phase: Phase, message: str) -> None:
        """Record a stage that is not run: an unused gate, or a stage whose predecessors failed."""
        self._groups(path, disk)
        self._node(path, "Skipped", stage.name, disk).update(phase=phase, message=message, finishedAt=now())
        self.save()

    def finish(self, *, message: str = "") -> Phase:
        """End the run: the members determine the phases of the groups."""
        phase = Phase.FAILED if message or self.failed() else Phase.SUCCEEDED
        for node in self._nodes.values():
            if node["type"] in ("DAG", "TaskGroup"):
                node.update(phase=self._worst_phase(node), finishedAt=now())
        self.workflow["status"].update(phase=phase, finishedAt=now(), message=message)
        self.save()
        return phase

    def reopen(self) -> None:
        """Reset as `argo retry` does: drop the stages that failed, did not finish or did not run.

        argo-workflows workflow/util/util.go FormulateRetryWorkflow. Steps that a killed runner left
        Running count as failed.
        """
        dropped = {id_ for id_, node in self._nodes.items() if self._must_run_again(node)}
        for id_ in dropped:
            del self._nodes[id_]
        for node in self._nodes.values():
            node["children"] = [child for child in node.get("children", []) if child in self._nodes]
            if node["type"] in ("DAG", "TaskGroup"):
                node.update(phase=Phase.RUNNING, finishedAt=None)
        self.workflow["status"].update(phase=Phase.RUNNING, startedAt=now(), finishedAt=None, message="")
        self.save()

    def undo(self) -> None:
        """Record that the import was undone: it has failed, and a retry begins again from preflight."""
        self.workflow["metadata"].setdefault("annotations", {})[UNDONE] = now()
        self.workflow["status"].update(phase=Phase.FAILED, finishedAt=now(), message="undone")
        self.save()

    # --- inside

    def _must_run_again(self, node: Json) -> bool:
        if node["name"].startswith(f"{self._name}.{ON_EXIT}"):
            return True
        if node["type"] in ("DAG", "TaskGroup"):
            return False
        if Phase(node["phase"]) is Phase.OMITTED:
            return True
        path = node["name"] if attempt_of(node) < 0 else node["name"].rpartition("(")[0]
        stage = self._nodes.get(node_id(self._name, path), node)
        return not Phase(stage["phase"]).succeeded

    def _worst_phase(self, group: Json) -> Phase:
        """The worst phase of a group's members at any depth; members are nodes whose name extends its own."""
        inside = [
            Phase(node["phase"])
            for node in self._nodes.values()
            if node is not group and node["name"].startswith(group["name"]) and node["type"] == "Retry"
        ]
        unsuccessful = [phase for phase in inside if not phase.succeeded]
        return Phase.FAILED if unsuccessful else Phase.SUCCEEDED

    def _groups(self, path: str, disk: str | None) -> None:
        for group in GROUPS:
            if path.startswith(f"{self._name}.{group}."):
                self._group(f"{self._name}.{group}", "DAG", group, None)
        if path.startswith(f"{self._name}.{ON_EXIT}."):
            self._group(f"{self._name}.{ON_EXIT}", "DAG", CLEANUP, None)
        if disk is not None:
            self._group(f"{self._name}.{TRANSFER}.{DISKS}", "TaskGroup", "disk", None)
            self._group(path.rpartition(".")[0], "DAG", "disk", disk)

    def _group(self, path: str, kind: str, template: str, disk: str | None) -> None:
        if node_id(self._name, path) not in self._nodes:
            self._node(path, kind, template, disk).update(phase=Phase.RUNNING)

    def _node(self, path: str, kind: str, template: str, disk: str | None) -> Json:
        id_ = node_id(self._name, path)
        if id_ in self._nodes:
            return self._nodes[id_]
        node: Json = {
            "id": id_,
            "name": path,
            "displayName": path.rsplit(".", 1)[-1],
            "type": kind,
            "templateName": template,
            "phase": Phase.PENDING,
            "startedAt": now(),
            "finishedAt": None,
        }
        if disk is not None:
            node["inputs"] = {"parameters": [{"name": "disk", "value": disk}]}
        self._nodes[id_] = node
        self._put_into_group(node)
        return node

    def _put_into_group(self, node: Json) -> None:
        """Link a node to the group whose name it extends; attempts belong to their stage."""
        group = node["name"].rpartition("(" if node["name"].endswith(")") else ".")[0]
        parent = self._nodes.get(node_id(self._name, group))
        if parent is None:
            return
        if parent["type"] in ("DAG", "TaskGroup"):
            node["boundaryID"] = parent["id"]
            parent.setdefault("children", []).append(node["id"])
