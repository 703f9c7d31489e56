"""An import as Argo runs it: a small Workflow that refers to the template of its source's kind. Pure.

`python -m workflows.author --chart charts/vmferry/files` renders those templates for the chart
(`workflows.template`). Hera writes the documents and does nothing else: no service, no global configuration.
"""

from __future__ import annotations

import argparse
import re
from io import StringIO
from pathlib import Path
from typing import Any, Final

from hera.workflows import Parameter, Workflow
from hera.workflows import models as m

from steps.plan import Gate, Plan, SourceKind
from workflows import names
from workflows.installation import Installation
from workflows.template import DESCRIPTION, TITLE, Json, template


def author(plan: Plan, settings: Installation, *, attempt: int = 0, owner: str = "") -> Json:
    """The Workflow that carries out `plan`.

    `attempt` counts the Workflows over the same request; `owner` is the uid of the request's ConfigMap, which
    the API knows once it is made. Everything else a step needs stands in the request.
    """
    made: Json = Workflow(
        name=names.workflow_name(plan.run, attempt),
        namespace=settings.namespace,
        labels={**labels(plan), names.LABEL_SOURCE: names.label_value(plan.source.name)},
        annotations={TITLE: title(plan), DESCRIPTION: description(plan, attempt)},
        owner_references=[_owner(plan.run, owner)] if owner else None,
        workflow_template_ref=m.WorkflowTemplateRef(name=names.template_name(plan.source.kind)),
        arguments=[Parameter(name=name, value=value) for name, value in parameters(plan).items()],
    ).to_dict()
    return made


def labels(plan: Plan) -> dict[str, str]:
    """By which the import, its run and its source are found."""
    return {
        names.LABEL_UID: names.label_value(plan.import_.uid),
        names.LABEL_NAME: names.label_value(plan.import_.name),
        names.LABEL_NAMESPACE: plan.import_.namespace,
        names.LABEL_RUN: plan.run,
    }


def parameters(plan: Plan) -> dict[str, str]:
    """What differs between imports and Argo itself must know. All of it is settled before the run begins."""
    gates = {f"approve-{gate}": "true" if gate in plan.approvals else "false" for gate in Gate}
    return {"run": plan.run, "source": names.source_key(plan.source), **gates}


def title(plan: Plan) -> str:
    """The line that stands for the import in Argo's list, which cuts it: the VM's name comes first."""
    return f"**{_plain(plan.vm)}** from {_plain(plan.source.name)}"


def description(plan: Plan, attempt: int) -> str:
    """What happens, in a sentence or two."""
    before = {
        Gate.POWEROFF: "Waits for approval before the machine is shut down.",
        Gate.START: "Waits for approval before the machine is started.",
    }
    again = [f"Goes on from where an earlier try ended (retry {attempt})."] if attempt else []
    start = "" if plan.target.start else " and leaves it off"
    what = (
        f"VirtualMachineImport {plan.import_.namespace}/{plan.import_.name} brings {_plain(plan.vm)} from "
        f"{plan.source.kind} {plan.source.namespace}/{plan.source.name} "
        f"into namespace {plan.target.namespace}{start}."
    )
    return " ".join([what, *(text for gate, text in before.items() if gate in plan.approvals), *again])


def _plain(text: str) -> str:
    """A name that came from outside, so that Argo's Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~])", r"\\\1", " ".join(text.split()))


def _owner(run: str, uid: str) -> m.OwnerReference:
    return m.OwnerReference(api_version="v1", kind="ConfigMap", name=names.request(run), uid=uid)


# --- the chart's file

HEADING: Final = """\
# Written by `python -m workflows.author` from the stage table: change that, not this. {{...}} is Argo's; the
# chart reads this file as data and puts its values into it (templates/workflowtemplate.yaml).
"""


def render(document: Json) -> str:
    """A document as YAML that a person can read: names first, long text as it is."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only who renders needs a YAML writer
    from ruamel.yaml.scalarstring import walk_tree  # noqa: PLC0415

    ordered = _named_first(document)
    walk_tree(ordered)
    yaml, text = YAML(), StringIO()
    yaml.width = 1000  # no line is folded: it could not be searched for
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(ordered, text)
    return text.getvalue()


def _named_first(value: Any) -> Any:
    if isinstance(value, list):
        return [_named_first(item) for item in value]
    if not isinstance(value, dict):
        return value
    first = [key for key in ("apiVersion", "kind", "name", "metadata") if key in value]
    return {key: _named_first(value[key]) for key in [*first, *(key for key in value if key not in first)]}


def chart_files() -> dict[str, str]:
    """The chart's templates, one of each kind of source: file names and texts."""
    return {
        f"{names.provider(kind)}.yaml": HEADING + render(template(Installation(), kind))
        for kind in SourceKind
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="workflows.author", description="Write the chart's templates.")
    parser.add_argument("--chart", metavar="FOLDER", type=Path, required=True)
    folder = parser.parse_args().chart
    for name, text in chart_files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
