"""What a pod mounts of the disks of a VM, where the Workflow says it. Pure.

**A disk that lands.** A row of `admit` says on which claim a disk lands, and how a pod mounts it. Argo keeps
the rows in the status of the Workflow, which a person who retries Workflows may change. So each value is an
expression of Argo. It yields one of the values that are possible, whatever the row says.

**All disks.** How many disks there are is known when the Workflow runs, but the volumes of a pod are a part
of its template. So the controller says it, as the output of the suspended node `name-claims`: a word for
each disk.

    disk-0:scratch      the scratch of the disk, with the disk as a file
    disk-0:Block        the volume on which the disk has landed, a block device; scratch has the records
    disk-0:Filesystem   the same with a filesystem
    disk-0:notes        the records only: the volume was handed over by an earlier Workflow

The template makes the mounts from these words, by an expression of Argo (`pod_patch`). A word of another form
counts for nothing, and the names of the claims are made of the run's name and the id of the disk. So a step,
or a person who may change Workflows, could choose only among the disks of the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

from steps.model.contract import EVERY_VOLUME, SCRATCH
from steps.model.landing import LandingDisk
from steps.model.machine import Machine
from steps.model.mapping import disk_way
from steps.model.plan import DiskWay, Plan
from workflows.stages import CLAIMS, Stage

NOTHING: Final = "none"
"""Instead of words: there is nothing to mount, and the stages are skipped."""
MOST: Final = 256
"""Disks of a pod. A VM has at most as many; the installation's limit (`limits.maxDisks`) is lower."""
CONDITION: Final = f"{{{{=inputs.parameters.{CLAIMS} != '{NOTHING}'}}}}"
"""When the stages run: an expression, as Argo would parse the words themselves."""
_RECORDS: Final = "notes"
_FORM: Final = "^disk-[0-9]{1,3}:(scratch|notes|Block|Filesystem)$"
_INPUT: Final = f"inputs.parameters.{CLAIMS}"
FINAL_CLAIMS: Final = "final-claims"
"""The parameter of a Workflow: whether its VM is in the release namespace. There a disk lands on a claim that
has its final name. The parameter is a part of the spec, which people may not change."""
_CLAIM_FORM: Final = "^[a-z0-9]([-a-z0-9]{0,250}[a-z0-9])?$"
_OF_A_RUN: Final = "^vmi-.*-[0-9a-f]{8}-g[0-9]+-"
"""The claims of any run (`workflows.plan.run_name`, `steps.model.names.claim`)."""
_OWN: Final = "workflow.parameters.run + '-' + inputs.parameters.disk"


def words(plan: Plan, machine: Machine, rows: Iterable[object]) -> str:
    """The words for the disks of a VM; `NOTHING`, if it has none or more than it may have.

    `rows` are those of `admit` for disks that land. They count only for the mode of a volume, and for whether
    it was handed over.
    """
    landed = {row.disk: row for row in map(_row, rows) if row is not None}
    most = min(MOST, plan.limits.max_disks or MOST)
    if not 0 < len(machine.disks) <= most:
        return NOTHING
    found = []
    for disk in machine.disks:
        if disk_way(disk, plan.target) is not DiskWay.LAND:
            found.append(f"{disk.id}:scratch")
            continue
        row = landed.get(disk.id)
        if row is None:
            return NOTHING
        mode = "Block" if row.mounts == "volumeDevices" else "Filesystem"
        found.append(f"{disk.id}:{_RECORDS if row.landed == 'true' else mode}")
    return " ".join(found)


def _row(row: object) -> LandingDisk | None:
    """A row of `admit`, without what it has in addition for a mixed VM; None for anything else."""
    if not isinstance(row, dict):
        return None
    try:
        return LandingDisk.model_validate({name: row.get(name) for name in LandingDisk.model_fields})
    except ValidationError:
        return None


def either(field: str, one: str, other: str) -> str:
    """An expression of Argo: the value `one` if the row has it, in any other case `other`."""
    return f"{{{{=inputs.parameters.{field} == '{one}' ? '{one}' : '{other}'}}}}"


def landing_claim() -> str:
    """An expression: the claim on which the disk lands.

    It is named after the run and the disk. In the release namespace it may have another name, but never that
    of a claim of a run.
    """
    claim = "inputs.parameters.claim"
    is_final = f"workflow.parameters['{FINAL_CLAIMS}'] == 'true'"
    is_free = f"{claim} matches '{_CLAIM_FORM}' && not ({claim} matches '{_OF_A_RUN}')"
    return f"{{{{={is_final} && {is_free} ? {claim} : {_OWN} }}}}"


def mixed_claim() -> str:
    """The same for a disk that may be served from its scratch instead."""
    return landing_claim().replace("{{=", "{{=inputs.parameters.volume == 'disk' && ", 1)


def scratch_claim() -> str:
    """An expression: the scratch of such a disk, or the claim with the records of its landing."""
    return f"{{{{=inputs.parameters.volume == 'disk' ? {_OWN} + '-notes' : {_OWN} }}}}"


def pod_patch(stage: Stage) -> str:
    """The patch of the pod of a stage with all disks: an expression of Argo (expr-lang, docs/variables.md).

    It never has two braces in a row, which would end it. A block device is read-only by its claim: the
    kubelet then refuses writes to the device (pkg/kubelet/kubelet_pods.go, makeBlockVolumes).
    """
    read_only = "false" if stage.writes else "true"
    scratch_read_only = "false" if stage.writes else "# endsWith ':scratch'"
    device_read_only = "false" if stage.writes else "# endsWith ':Block'"
    disk = "split(#, ':')[0]"
    claim = f"workflow.parameters.run + '-' + {disk}"
    records = "(# endsWith ':scratch' ? '' : '-notes')"
    scratch = f"'scratch-' + {disk}"
    volume = f"'volume-' + {disk}"
    return (
        "{{=\n"
        f"let rows = take(filter(split({_INPUT}, ' '), # matches '{_FORM}'), {MOST});\n"
        "let landed = filter(rows, # matches ':(Block|Filesystem)$');\n"
        "toJson({\n"
        "  'volumes': concat(\n"
        f"    map(rows, ({{'name': {scratch}, 'persistentVolumeClaim':\n"
        f"      {{'claimName': {claim} + {records}}} }})),\n"
        f"    map(landed, ({{'name': {volume}, 'persistentVolumeClaim':\n"
        f"      {{'claimName': {claim}, 'readOnly': {device_read_only}}} }}))),\n"
        "  'containers': [{'name': 'main',\n"
        "    'volumeMounts': concat(\n"
        f"      map(rows, ({{'name': {scratch}, 'mountPath': '{SCRATCH}/' + {disk},\n"
        f"        'readOnly': {scratch_read_only}}})),\n"
        "      map(filter(landed, # endsWith ':Filesystem'), "
        f"({{'name': {volume},\n"
        f"        'mountPath': '{EVERY_VOLUME}/' + {disk}, 'readOnly': {read_only}}}))),\n"
        "    'volumeDevices': map(filter(landed, # endsWith ':Block'), "
        f"({{'name': {volume},\n"
        f"      'devicePath': '{EVERY_VOLUME}/' + {disk}}}))}}]\n"
        "})}}\n"
    )
