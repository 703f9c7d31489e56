"""The Workflow of an import: small, with a reference to the template of its source's kind. Pure.

Hera only writes the documents: no service, no global configuration. The WorkflowTemplates
are part of the chart (`workflows.author.chart`).
"""

from __future__ import annotations

import re
from typing import Literal

from hera.workflows import Parameter, Workflow
from hera.workflows import models as m

from steps.model import names
from steps.model.plan import DiskWay, Gate, Plan, PodPlan
from workflows import argo_names, mounts
from workflows.author.installation import Installation
from workflows.author.pods import KEEP_OFF, NETWORKS, placement
from workflows.author.template import DESCRIPTION, TITLE, Json

KeepOff = Literal["true", "succeeded", "false"]
"""Whether the exit handler stops and starts no VM; `succeeded`: because the import has succeeded."""


def author(
    plan: Plan,
    settings: Installation,
    *,
    attempt: int = 0,
    owner: str = "",
    limits: str = argo_names.DEFAULT,
    undo: bool = False,
    keep_off: KeepOff = "false",
) -> Json:
    """The Workflow that carries out `plan`; with `undo` its exit handler undoes the import.

    With `keep_off` the exit handler stops and starts no VM: the cleanup of an import that has succeeded, or
    may have, is repeated by a Workflow that is stopped, so its own status is not that of the import.
    `attempt` counts the Workflows for the same request; `owner` is the uid of the request's ConfigMap, which
    exists only after the ConfigMap was created; `limits` is the key of the source's limits. The request has
    everything else that a step needs.
    """
    document: Json = Workflow(
        name=argo_names.workflow_name(plan.run, attempt),
        namespace=settings.namespace,
        labels={
            **names.run_labels(plan),
            names.LABEL_SOURCE: names.label_value(plan.source.name),
            names.LABEL_LIMITS: limits,
        },
        annotations={TITLE: title(plan), DESCRIPTION: description(plan, attempt)},
        owner_references=[_owner(plan.run, owner)] if owner else None,
        entrypoint=argo_names.entrypoint(boot_check=plan.boot_check is not None, hooks=bool(plan.hooks))
        or None,
        workflow_template_ref=m.WorkflowTemplateRef(
            name=argo_names.template_name(plan.source.kind, plan.target.way, guest=bool(plan.guest.stages))
        ),
        arguments=[
            Parameter(name=name, value=value)
            for name, value in (
                parameters(plan, limits, undo=undo, keep_off=keep_off) | _of_landing(plan, settings)
            ).items()
        ],
    ).to_dict()
    document["spec"] |= _placement(plan.pods)
    return document


def _placement(pods: PodPlan) -> Json:
    """What the pods of this import have in addition to those of the template, which Argo merges with it.

    Hera's models for it drop names that they do not know.
    """
    notes = {"podMetadata": {"annotations": {NETWORKS: pods.network}}} if pods.network else {}
    return {**placement(pods), **notes}


def parameters(plan: Plan, limits: str, *, undo: bool = False, keep_off: KeepOff = "false") -> dict[str, str]:
    """Values that differ between imports and that Argo itself needs. They are fixed before the run."""
    gates = {f"approve-{gate}": _flag(gate in plan.approvals) for gate in Gate}
    wishes = {"undo": _flag(undo), KEEP_OFF: keep_off, **gates}
    points = {argo_names.HOOKS: " ".join(hook.point for hook in plan.hooks)} if plan.hooks else {}
    return {"run": plan.run, "source": limits, **wishes, **points}


def _of_landing(plan: Plan, settings: Installation) -> dict[str, str]:
    """Whether the disks land on claims that have their final names already."""
    if plan.target.way is DiskWay.PULL:
        return {}
    return {mounts.FINAL_CLAIMS: _flag(plan.target.namespace == settings.namespace)}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def title(plan: Plan) -> str:
    """The line for the import in Argo's list. Argo truncates it, so the VM's name comes first."""
    return f"**{_plain(plan.vm)}** from {_plain(plan.source.name)}"


def description(plan: Plan, attempt: int) -> str:
    """A description of the import in one or two sentences."""
    before = {
        Gate.POWEROFF: "Waits for approval before the VM is shut down.",
        Gate.START: "Waits for approval before the VM is started.",
    }
    again = [f"Resumes where an earlier attempt ended (retry {attempt})."] if attempt else []
    start = "" if plan.target.start else " and does not start it"
    sentence = (
        f"VirtualMachineImport {plan.import_.namespace}/{plan.import_.name} imports {_plain(plan.vm)} from "
        f"{plan.source.title} "
        f"into namespace {plan.target.namespace}{start}."
    )
    return " ".join([sentence, *(text for gate, text in before.items() if gate in plan.approvals), *again])


def _plain(text: str) -> str:
    """An external name, escaped so that Argo's Markdown shows it unchanged."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~])", r"\\\1", " ".join(text.split()))


def _owner(run: str, uid: str) -> m.OwnerReference:
    return m.OwnerReference(api_version="v1", kind="ConfigMap", name=names.request(run), uid=uid)
