"""The pod of a stage: its command, mounts, identity and rules, from its row in the stage table.

**How results get into the request.** A pod has one `/request`, projected from several ConfigMaps:
`RUN-request` (the controller's: `plan.json`), `RUN-machine` (preflight's: `machine.json`) and
`WORKFLOW-volumes` (admit's: `volumes.json`). Preflight and admit write theirs through the API as their last
action (`--publish-to configmap/NAME`). There are several because a kubelet may give a new pod an old version
of a ConfigMap (`configMapAndSecretChangeDetectionStrategy`; with `Cache` up to a minute old), and a step
that finds no `machine.json` fails finally. A ConfigMap that no pod had before is always fetched, and a pod
waits for a ConfigMap that does not exist. Also, no step needs the right to change its own request.

The names of volumes and keys are the agreement with the steps; see docs/reference/step-contract.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from hera.workflows import Container, Parameter, Resources, RetryStrategy
from hera.workflows import models as m

from steps.model import names
from steps.model.contract import CREDENTIALS, OUTPUTS, REQUEST, SCRATCH, Exit
from steps.model.sources import SourceKind
from workflows import argo_names
from workflows.author.installation import Installation
from workflows.stages import Image, Limit, Retry, Scope, Stage

RUN: Final = "{{workflow.parameters.run}}"
SOURCE: Final = "{{workflow.parameters.source}}"
DISK: Final = "{{inputs.parameters.disk}}"
WORKFLOW: Final = "{{workflow.name}}"
PROBE_SECONDS: Final = 5
"""Seconds that a probe waits for an answer."""
TOKEN: Final = PurePosixPath("/run/address/token")
"""The secret token in the disk's URL, for the steps `serve` and `image`."""

ARGUMENTS: Final[dict[str, dict[str, str]]] = {
    "preflight": {"--publish-to": f"configmap/{names.machine(RUN)}"},
    "admit": {"--publish-to": f"configmap/{names.volumes(WORKFLOW)}"},
    "serve": {"--token-file": str(TOKEN), "--workflow": WORKFLOW},
    "image": {
        "--token-file": str(TOKEN),
        "--origin": names.origin(RUN, DISK, "{{workflow.namespace}}"),
        "--workflow": WORKFLOW,
    },
    "cleanup": {"--status": "{{workflow.status}}"},
}
"""Options that a step needs only in a cluster, with their values."""
PUBLISHED: Final = {"machine.json": names.machine(RUN), "volumes.json": names.volumes(WORKFLOW)}
"""The ConfigMap of each document that a stage adds to the request."""

RETRYABLE: Final = (
    f"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) < {Exit.INVALID:d}"
    f" || asInt(lastRetry.exitCode) > {Exit.STALE:d}"
)
"""`contract.is_retryable` for Argo. The exit code is a string, "-1" while unknown (docs/retries.md)."""


def container(
    stage: Stage, settings: Installation, kind: SourceKind, published: Collection[str]
) -> Container:
    """The template of a stage that is a program. `published` are the documents that exist when it runs."""
    share = settings.share(stage.name)
    per_disk = stage.scope is Scope.DISK
    volumes = _volumes(stage, settings, published)
    return Container(
        name=stage.name,
        image=f"{settings.repository}/{image(stage, kind)}:{settings.tag}",
        image_pull_policy=settings.pull_policy,
        # Always explicit: without a command Argo's controller asks the registry for the image's own.
        command=["python", "-m", f"steps.{stage.name}"],
        args=arguments(stage) or None,
        service_account_name=argo_names.service_account(stage.identity),
        security_context=restricted(),
        resources=Resources(
            cpu_request=share.cpu, memory_request=share.memory, memory_limit=share.memory_limit
        ),
        volumes=[volume for volume, _ in volumes],
        volume_mounts=[mount for _, mount in volumes],
        labels=_labels(stage),
        inputs=[Parameter(name="disk")] if per_disk else [],
        outputs=_outputs(stage),
        ports=[m.ContainerPort(name="http", container_port=names.PORT)] if _serves(stage) else None,
        readiness_probe=_ready() if _serves(stage) else None,
        synchronization=semaphore(stage.limit) if stage.limit else None,
        retry_strategy=retry(stage.retry),
        # Kubernetes uses the last lines of the log if a step died without a message.
        termination_message_policy="FallbackToLogsOnError",
    )


def image(stage: Stage, kind: SourceKind) -> str:
    """The target of images/Containerfile that holds a stage's program."""
    return kind.provider if stage.image is Image.PROVIDER else str(stage.image)


def arguments(stage: Stage) -> list[str]:
    """A stage's command line."""
    options: dict[str, str] = {}
    if stage.scope is Scope.DISK:
        options["--disk"] = DISK
    if stage.credentials and not stage.scratch:
        # Without a claim there is only the root file system, and it is read-only.
        options["--scratch"] = str(OUTPUTS)
    options |= ARGUMENTS.get(stage.name, {})
    return [word for option in options.items() for word in option]


def retry(rule: Retry) -> RetryStrategy:
    """A row's rule. No `maxDuration`: Argo makes it the deadline of the running pod as well."""
    return RetryStrategy(
        limit=rule.limit,  # without it Argo ignores the back-off
        expression=RETRYABLE,  # without a policy this applies to any failure (docs/retries.md)
        backoff=m.Backoff(duration=f"{rule.first:g}s", factor=int(rule.factor), cap=f"{rule.cap:g}s"),
    )


def semaphore(limit: Limit) -> m.Synchronization:
    """A lock that all imports of one source share."""
    key = m.ConfigMapKeySelector(name=argo_names.LIMITS, key=argo_names.limit_key(SOURCE, limit))
    return m.Synchronization(semaphores=[m.SemaphoreRef(config_map_key_ref=key)])


def restricted() -> m.SecurityContext:
    """What Pod Security `restricted` requires of a container, plus a read-only root file system."""
    return m.SecurityContext(
        allow_privilege_escalation=False,
        capabilities=m.Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
        run_as_non_root=True,
    )


def pod_security(user: int) -> m.PodSecurityContext:
    """The same for the pod; the group makes claims and Secrets readable without a walk over every file."""
    return m.PodSecurityContext(
        run_as_non_root=True,
        run_as_user=user,
        run_as_group=user,
        fs_group=user,
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=m.SeccompProfile(type="RuntimeDefault"),
    )


def executor_patch(settings: Installation) -> str:
    """A patch of every pod that adds what Argo's own containers lack.

    They take no security context from the pod (workflow/controller/workflowpod.go, newExecContainer), so
    `restricted` refuses them; a cluster whose controller sets `executor.securityContext` has it twice. With
    Argo's `initlessPod` these containers do not exist, and the patch would add broken ones: leave that off.
    The grace period is Argo's wait between SIGTERM and SIGKILL (workflow/controller/pod/queue.go).
    """
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    tick = {"name": "ARGO_PROGRESS_PATCH_TICK_DURATION", "value": settings.progress_tick}
    patch: dict[str, object] = {
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "initContainers": [{"name": "init", "securityContext": locked}],
        "containers": [{"name": "wait", "securityContext": locked, "env": [tick]}],
    }
    # A line for each field. Never `{{`, which Argo would treat as a template.
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(patch[key])}" for key in patch) + "\n}\n"


# --- inside

Mounted = tuple[m.Volume, m.VolumeMount]


def _volumes(stage: Stage, settings: Installation, published: Collection[str]) -> list[Mounted]:
    volumes = [_request(published), _tmp(settings.tmp_size)]
    if stage.credentials:
        volumes.append(_secret("source", names.credentials(RUN), str(CREDENTIALS)))
    if stage.address:
        volumes.append(_secret("address", names.address(RUN), str(TOKEN.parent)))
    if stage.scratch:
        volumes.append(_scratch())
    return volumes


def _request(published: Collection[str]) -> Mounted:
    given = [names.request(RUN), *(name for document, name in PUBLISHED.items() if document in published)]
    sources = [m.VolumeProjection(config_map=m.ConfigMapProjection(name=name)) for name in given]
    volume = m.Volume(name="request", projected=m.ProjectedVolumeSource(sources=sources))
    return volume, m.VolumeMount(name="request", mount_path=str(REQUEST), read_only=True)


def _tmp(size: str) -> Mounted:
    # An m.Quantity: the model accepts a plain string, but fails when it is written.
    volume = m.Volume(name="tmp", empty_dir=m.EmptyDirVolumeSource(size_limit=m.Quantity(root=size)))
    return volume, m.VolumeMount(name="tmp", mount_path=str(OUTPUTS))


def _secret(name: str, secret: str, path: str) -> Mounted:
    volume = m.Volume(name=name, secret=m.SecretVolumeSource(secret_name=secret, default_mode=0o440))
    return volume, m.VolumeMount(name=name, mount_path=path, read_only=True)


def _scratch() -> Mounted:
    source = m.PersistentVolumeClaimVolumeSource(claim_name=names.claim(RUN, DISK))
    return m.Volume(name="scratch", persistent_volume_claim=source), m.VolumeMount(
        name="scratch", mount_path=str(SCRATCH)
    )


def _labels(stage: Stage) -> dict[str, str]:
    """Labels of the pod (Hera's `labels` are the pod's), for Services, network policies and podGC."""
    disk = {names.LABEL_DISK: DISK} if stage.scope is Scope.DISK else {}
    scratch = {names.LABEL_SCRATCH: "true"} if stage.scratch else {}
    return {names.LABEL_STAGE: stage.name, **disk, **scratch}


def _outputs(stage: Stage) -> list[Parameter]:
    """Results with a default: without one, the executor fails if a failed step wrote no file."""
    return [_output(OUTPUTS / name) for name in stage.outputs]


def _output(file: Path) -> Parameter:
    empty = "[]" if file.suffix == ".json" else ""
    return Parameter(name=file.stem, value_from=m.ValueFrom(path=str(file), default=empty))


def _serves(stage: Stage) -> bool:
    return stage.image is Image.SERVE


def _ready() -> m.Probe:
    """Kubernetes' default timeout of one second is too short on a busy node."""
    request = m.HTTPGetAction(path="/healthz", port=names.PORT)
    return m.Probe(http_get=request, period_seconds=2, timeout_seconds=PROBE_SECONDS)
