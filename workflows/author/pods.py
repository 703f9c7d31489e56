"""The pod of a stage: its command, mounts, identity and rules, from its row in the stage table.

**How results get into the request.** A pod has one `/request`, projected from several ConfigMaps:
`RUN-request` (the controller's: `plan.json`), `RUN-machine` (`machine.json`) and `WORKFLOW-volumes`
(`volumes.json`). `admit` writes the last two through the API. There are several because a kubelet may give a
new pod an old version of a ConfigMap (`configMapAndSecretChangeDetectionStrategy`; with `Cache` up to a
minute old), and a step that finds no `machine.json` fails finally. A ConfigMap that no pod had before is
always fetched, and a pod waits for a ConfigMap that does not exist. Also, no step needs the right to change
its own request.

**No step has both the source's data and a right on the cluster** (docs/decisions/0021). `preflight` reads the
source and only reports; `admit` takes its result from the Workflow. No output of a step that reads foreign
data becomes a part of a pod: the disks over which the Workflow fans out are an output of `admit`.

**Tokens.** No pod gets the token of its service account by itself. The patches below mount a token that
belongs to the pod and lasts an hour: into Argo's own containers, and into the program's container only where
the stage table says that it uses the API.

The names of volumes and keys are the agreement with the steps; see docs/reference/step-contract.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from hera.workflows import Container, Parameter, Resources, RetryStrategy, UserContainer
from hera.workflows import models as m

from steps.model import names
from steps.model.contract import CREDENTIALS, EVERY_VOLUME, OUTPUTS, REQUEST, SCRATCH, VOLUME, Exit
from steps.model.landing import LandingDisk, MixedDisk
from steps.model.plan import PodPlan
from steps.model.sources import SourceKind
from workflows import argo_names, mounts
from workflows.author.installation import Installation
from workflows.stages import (
    BUILD,
    CHECK,
    CLAIMS,
    HALT,
    RELEASE_SOURCE,
    SOURCE_CHECK,
    Image,
    Limit,
    Retry,
    Scope,
    Stage,
)

RUN: Final = "{{workflow.parameters.run}}"
SOURCE: Final = "{{workflow.parameters.source}}"
DISK: Final = "{{inputs.parameters.disk}}"
WORKFLOW: Final = "{{workflow.name}}"
MOUNTS: Final = mounts.either("mounts", "volumeDevices", "volumeMounts")
PATH: Final = mounts.either("path", "devicePath", "mountPath")
"""How a pod mounts the claim on which a disk lands: the field of the container, and that of the entry."""
LANDED: Final = "landed"
"""Field of a disk: its volume was handed over by an earlier Workflow of the run, so nothing is copied."""
WAY: Final = "way"
"""Field of a disk of a mixed VM: which stages apply to it."""
LANDING_INPUTS: Final = tuple(field for field in LandingDisk.model_fields if field not in ("disk", LANDED))
"""Inputs of a stage that mounts such a claim, in addition to the disk."""
MIXED_INPUTS: Final = tuple(field for field in MixedDisk.model_fields if field not in ("disk", LANDED, WAY))
"""The same if other disks of the VM land on scratch."""
VOLUME_OWNER: Final = 107
"""User and group of KubeVirt's and CDI's pods: with this user a VM can read and write the disk on any driver
(kubevirt pkg/util, NonRootUID)."""
UNDO: Final = "{{workflow.parameters.undo}}"
KEEP_OFF: Final = "keep-off"
"""The parameter of a cleanup that stops and starts no VM."""
OUTCOME: Final = "{{workflow.status}}"
"""How the import ended; known to the exit handler only."""
RECORD: Final = PurePosixPath("/run/power")
"""Where the check of the source finds the record of `poweroff`."""
FETCH: Final = "power-record"
"""The init container that fetches the record of `poweroff`, before the one that checks the source."""
PROBE_SECONDS: Final = 5
"""Seconds that a probe waits for an answer."""
TOKEN: Final = PurePosixPath("/run/address/token")
"""The secret token in the URL of the disk's description, for the steps `serve` and `image`."""
API_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where every client of the Kubernetes API looks for its token."""
API_TOKEN_SECONDS: Final = 3600
"""How long a token of a pod lasts; the kubelet renews it in time."""

NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"
"""Annotation of a pod: its further networks, for Multus (k8snetworkplumbingwg/multus-cni)."""
WISHES: Final = {"--undo": UNDO, "--keep-off": f"{{{{workflow.parameters.{KEEP_OFF}}}}}"}
ARGUMENTS: Final[dict[str, dict[str, str]]] = {
    "admit": {"--workflow": WORKFLOW},
    "serve": {"--token-file": str(TOKEN), "--workflow": WORKFLOW},
    "image": {
        "--token-file": str(TOKEN),
        "--origin": names.origin(RUN, DISK, "{{workflow.namespace}}"),
        "--workflow": WORKFLOW,
    },
    "hand-over": {"--workflow": WORKFLOW, "--landed": f"{{{{inputs.parameters.{LANDED}}}}}"},
    CHECK: {"--workflow": WORKFLOW},
    "hook": {"--point": "{{inputs.parameters.point}}", "--workflow": WORKFLOW},
    HALT: {"--outcome": OUTCOME, **WISHES},
    RELEASE_SOURCE: {"--outcome": OUTCOME, "--halt": "{{inputs.parameters.halt}}", **WISHES},
}
"""Options that a step needs only in a cluster, with their values."""
PUBLISHED: Final = {"machine.json": names.machine(RUN), "volumes.json": names.volumes(WORKFLOW)}
"""The ConfigMap of each document that a stage adds to the request."""

RETRYABLE: Final = (
    f"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) < {Exit.INVALID:d}"
    f" || asInt(lastRetry.exitCode) > {Exit.STALE:d}"
)
"""`contract.is_retryable` for Argo. The exit code is a string, "-1" while unknown (docs/retries.md)."""
CHECKED: Final = (
    f"({RETRYABLE}) && not (lastRetry.message matches "
    f"'^({FETCH}|{SOURCE_CHECK}): [A-Za-z]+ [(]exit code (1[0-9]|2[01])[)]')"
)
"""The rule for a stage with a check of the source, which is an init container.

Argo reports the exit code of `main` only, so `lastRetry.exitCode` is "-1" if an init container fails
(workflow/controller/operator.go, getExitCode, buildRetryStrategyLocalScope). But the node's message begins
with the name of that container and its exit code (inferFailedReason), and `lastRetry.message` has it.
"""


def placement(plan: PodPlan) -> dict[str, object]:
    """The fields of a pod, or of a Workflow, for where pods run."""
    given: dict[str, object] = {
        "nodeSelector": dict(plan.node_selector),
        "tolerations": [dict(one) for one in plan.tolerations],
        "affinity": dict(plan.affinity),
    }
    return {name: value for name, value in given.items() if value}


def container(
    stage: Stage,
    settings: Installation,
    kind: SourceKind,
    published: Collection[str],
    *,
    inspected: bool = False,
) -> Container:
    """The template of a stage that is a program. `published` are the documents that exist when it runs.

    `inspected`: whether an earlier stage looks into the disks.
    """
    share = settings.share(stage.name)
    volumes = _volumes(stage, settings, published)
    checks = _source_check(stage, settings, kind, volumes) if stage.checks_source else NO_CHECK
    return Container(
        name=stage.name,
        image=f"{settings.repository}/{image(stage, kind)}:{settings.tag}",
        image_pull_policy=settings.pull_policy,
        # Always explicit: without a command Argo's controller asks the registry for the image's own.
        command=["python", "-m", f"steps.{stage.program}"],
        args=arguments(stage, inspected=inspected) or None,
        service_account_name=argo_names.service_account(stage.identity),
        security_context=restricted(),
        pod_security_context=pod_security(VOLUME_OWNER) if _is_of_volume_owner(stage) else None,
        resources=Resources(
            cpu_request=share.cpu, memory_request=share.memory, memory_limit=share.memory_limit
        ),
        volumes=[*(volume for volume, _ in (*volumes, *checks.volumes)), *_landing_volumes(stage)],
        volume_mounts=[mount for _, mount in volumes],
        init_containers=checks.containers or None,
        labels=_labels(stage),
        inputs=_inputs(stage),
        outputs=_outputs(stage),
        ports=[m.ContainerPort(name="http", container_port=names.PORT)] if _serves(stage) else None,
        readiness_probe=_ready() if _serves(stage) else None,
        synchronization=semaphore(stage.limit) if stage.limit else None,
        retry_strategy=retry(stage.retry, CHECKED if stage.checks_source else RETRYABLE),
        # Kubernetes uses the last lines of the log if a step died without a message.
        termination_message_policy="FallbackToLogsOnError",
        pod_spec_patch=_stage_patch(stage),
    )


def image(stage: Stage, kind: SourceKind) -> str:
    """The target of images/Containerfile that holds a stage's program."""
    return kind.provider if stage.image is Image.PROVIDER else str(stage.image)


def arguments(stage: Stage, *, inspected: bool = False) -> list[str]:
    """A stage's command line. `inspected` as for `container`."""
    options: dict[str, str] = {}
    if stage.scratches:
        options |= {"--disks": str(SCRATCH), "--volumes": str(EVERY_VOLUME)}
    if stage.name == BUILD and inspected:
        options["--workflow"] = WORKFLOW
    if stage.scope is Scope.DISK:
        options["--disk"] = DISK
    if stage.credentials and not stage.scratch:
        # Without a claim there is only the root file system, and it is read-only.
        options["--scratch"] = str(OUTPUTS)
    options |= ARGUMENTS.get(stage.name, {})
    return [word for option in options.items() for word in option]


def retry(rule: Retry, expression: str = RETRYABLE) -> RetryStrategy:
    """A row's rule. No `maxDuration`: Argo makes it the deadline of the running pod as well."""
    return RetryStrategy(
        limit=rule.limit,  # without it Argo ignores the back-off
        expression=expression,  # without a policy this applies to any failure (docs/retries.md)
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

    They need a token, to report; the program in the same pod must not have it. The template's own field
    `automountServiceAccountToken: false` would require `executor.serviceAccountName`, and for that a Secret
    with a token that never expires (setupServiceAccount in the same file). The pod's field, set by this
    patch, does not: Argo applies the patch last.
    """
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    tick = {"name": "ARGO_PROGRESS_PATCH_TICK_DURATION", "value": settings.progress_tick}
    argo = {"securityContext": locked, "volumeMounts": [API_MOUNT]}
    return _patch(
        {
            "terminationGracePeriodSeconds": settings.grace_seconds,
            "automountServiceAccountToken": False,
            "initContainers": [{"name": "init", **argo}],
            "containers": [{"name": "wait", **argo, "env": [tick]}],
            "volumes": [API_VOLUME],
        }
    )


def token_patch(stage: Stage) -> str:
    """A patch of the pods whose program uses the API; Argo applies it after `executor_patch`.

    Of the init containers of a check only `power-record` gets the token: `unchanged` has the credentials.
    Lists merge by the names of containers and volumes, and by the paths of mounts.
    """
    containers = {"containers": [{"name": "main", "volumeMounts": [API_MOUNT]}]}
    fetch = {"initContainers": [{"name": FETCH, "volumeMounts": [API_MOUNT]}]}
    return _patch(fetch | containers if stage.checks_source else containers)


def volume_patch() -> str:
    """A patch of the pods that work on the volume of a disk: it mounts the volume, whatever its mode is.

    A template names either `volumeMounts` or `volumeDevices`, and the mode of a claim is known only when the
    Workflow runs. Argo evaluates the expressions before it applies the patch (docs/fields.md, podSpecPatch).
    """
    return _patch({"containers": [{"name": "main", MOUNTS: [{"name": "disk", PATH: str(VOLUME)}]}]})


def mixed_patch() -> str:
    """The same for a disk that lands on its volume, or on scratch: a row of `admit` says which.

    For scratch the patch repeats what the template says. Lists merge by the names of volumes and the paths of
    mounts, so that changes nothing; a pod never has a claim as two volumes.
    """
    name = mounts.either("volume", "disk", "scratch")
    return _patch(
        {
            "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": mounts.mixed_claim()}}],
            "containers": [{"name": "main", MOUNTS: [{"name": name, PATH: f"/{name}"}]}],
        }
    )


# --- inside

API_VOLUME: Final = {
    "name": "api-access",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": API_TOKEN_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                }
            },
        ]
    },
}
"""The same files as Kubernetes mounts by itself (kubernetes plugin/pkg/admission/serviceaccount)."""
API_MOUNT: Final = {"name": API_VOLUME["name"], "mountPath": API_FOLDER, "readOnly": True}


def _stage_patch(stage: Stage) -> str | None:
    if stage.scratches:
        return mounts.pod_patch(stage)
    if stage.volume:
        return mixed_patch() if stage.mixed else volume_patch()
    return token_patch(stage) if stage.api else None


def _patch(patch: Mapping[str, object]) -> str:
    """A patch as text, a line for each field. `{{` only where Argo shall put an input."""
    fields = ",\n".join(f"  {json.dumps(key)}: {json.dumps(patch[key])}" for key in patch)
    return "{\n" + fields + "\n}\n"


Mounted = tuple[m.Volume, m.VolumeMount]


class SourceCheck(NamedTuple):
    """The init containers of a stage that checks the source, and the volumes that only they mount."""

    containers: list[UserContainer | m.UserContainer]
    volumes: list[Mounted]


NO_CHECK: Final = SourceCheck([], [])


def _source_check(
    stage: Stage, settings: Installation, kind: SourceKind, mounted: Sequence[Mounted]
) -> SourceCheck:
    """Two init containers, so that none has both the source's credentials and a right in the cluster.

    `power-record` has the token of the stage's identity (`token_patch`) and no credentials: it fetches what
    `poweroff` recorded. `unchanged` has the credentials and no token: it asks the source. Files are their
    only connection. Every attempt of the stage runs them again, right before its own program.
    """
    request = next(mount for _, mount in mounted if mount.name == "request")
    record, own, no_token = (
        m.Volume(name=name, empty_dir=m.EmptyDirVolumeSource(size_limit=m.Quantity(root=size)))
        for name, size in (("power", "1Mi"), ("check", settings.tmp_size), ("no-token", "1Mi"))
    )
    source, credentials = _secret("source", names.credentials(RUN), str(CREDENTIALS))
    to_record = m.VolumeMount(name="power", mount_path=str(RECORD))
    to_own = m.VolumeMount(name="check", mount_path=str(OUTPUTS))
    # Without the patches Kubernetes mounts the pod's token into each container, but not over another mount.
    to_no_token = m.VolumeMount(name="no-token", mount_path=API_FOLDER, read_only=True)
    fetch = _init_container(
        FETCH,
        image(stage, kind),
        ["python", "-m", "steps.power_record", "--workflow", WORKFLOW, "--to", str(RECORD)],
        [request, to_record],
        settings,
    )
    check = _init_container(
        SOURCE_CHECK,
        kind.provider,
        ["python", "-m", f"steps.{SOURCE_CHECK}", "--record", str(RECORD), "--scratch", str(OUTPUTS)],
        [
            request,
            to_record.model_copy(update={"read_only": True}),
            to_own,
            credentials,
            to_no_token,
        ],
        settings,
    )
    extra = [(record, to_record), (own, to_own), (no_token, to_no_token), (source, credentials)]
    return SourceCheck([fetch, check], extra)


def _init_container(
    name: str, image: str, command: Sequence[str], mounts: list[m.VolumeMount], settings: Installation
) -> UserContainer:
    share = settings.share(name)
    return UserContainer(
        name=name,
        image=f"{settings.repository}/{image}:{settings.tag}",
        image_pull_policy=settings.pull_policy,
        command=list(command[:3]),
        args=list(command[3:]),
        security_context=restricted(),
        resources=Resources(
            cpu_request=share.cpu, memory_request=share.memory, memory_limit=share.memory_limit
        ),
        volume_mounts=mounts,
        termination_message_policy="FallbackToLogsOnError",
    )


def _volumes(stage: Stage, settings: Installation, published: Collection[str]) -> list[Mounted]:
    # The exit handler also runs where preflight found no VM.
    maybe = ["machine.json"] if stage.name == RELEASE_SOURCE else []
    volumes = [_request(published, maybe), _tmp(settings.tmp_size)]
    if stage.credentials:
        volumes.append(_secret("source", names.credentials(RUN), str(CREDENTIALS)))
    if stage.address:
        volumes.append(_secret("address", names.address(RUN), str(TOKEN.parent)))
    if stage.scratch:
        volumes.append(_scratch(_scratch_claim(stage)))
    return volumes


def _scratch_claim(stage: Stage) -> str:
    if not stage.volume:
        return names.claim(RUN, DISK)
    return mounts.scratch_claim() if stage.mixed else names.notes(RUN, DISK)


def _is_of_volume_owner(stage: Stage) -> bool:
    """Whether its pod has the user of volumes. What such a pod writes to scratch, the next pods must read."""
    return stage.volume or (stage.mixed and stage.scratch)


def _request(published: Collection[str], maybe: Collection[str]) -> Mounted:
    """The folder of the request. A pod waits for the `published` documents, but not for those in `maybe`."""
    given = [names.request(RUN), *(name for document, name in PUBLISHED.items() if document in published)]
    sources = [m.VolumeProjection(config_map=m.ConfigMapProjection(name=name)) for name in given]
    sources += [
        m.VolumeProjection(config_map=m.ConfigMapProjection(name=PUBLISHED[document], optional=True))
        for document in maybe
    ]
    volume = m.Volume(name="request", projected=m.ProjectedVolumeSource(sources=sources))
    return volume, m.VolumeMount(name="request", mount_path=str(REQUEST), read_only=True)


def _tmp(size: str) -> Mounted:
    # An m.Quantity: the model accepts a plain string, but fails when it is written.
    volume = m.Volume(name="tmp", empty_dir=m.EmptyDirVolumeSource(size_limit=m.Quantity(root=size)))
    return volume, m.VolumeMount(name="tmp", mount_path=str(OUTPUTS))


def _secret(name: str, secret: str, path: str) -> Mounted:
    volume = m.Volume(name=name, secret=m.SecretVolumeSource(secret_name=secret, default_mode=0o440))
    return volume, m.VolumeMount(name=name, mount_path=path, read_only=True)


def _scratch(claim: str) -> Mounted:
    source = m.PersistentVolumeClaimVolumeSource(claim_name=claim)
    return m.Volume(name="scratch", persistent_volume_claim=source), m.VolumeMount(
        name="scratch", mount_path=str(SCRATCH)
    )


def _landing_volumes(stage: Stage) -> list[m.Volume]:
    """The claim on which the disk lands; `volume_patch` mounts it. Other patches add claims themselves."""
    if not stage.volume or stage.mixed or stage.scratches:
        return []
    source = m.PersistentVolumeClaimVolumeSource(claim_name=mounts.landing_claim())
    return [m.Volume(name="disk", persistent_volume_claim=source)]


def _inputs(stage: Stage) -> list[Parameter]:
    """A disk, all disks, or how the stop of the VM at the target ended."""
    if stage.scratches:
        return [Parameter(name=CLAIMS)]
    if stage.scope is Scope.DISK:
        return [Parameter(name=name) for name in ("disk", *disk_inputs(stage))]
    return [Parameter(name=HALT)] if stage.name == RELEASE_SOURCE else []


def disk_inputs(stage: Stage) -> tuple[str, ...]:
    """The inputs of a stage of a disk, in addition to the disk."""
    return (LANDED,) if stage.awaits else volume_inputs(stage)


def volume_inputs(stage: Stage) -> tuple[str, ...]:
    """The inputs of a stage that works on the volume of its disk; none for another stage."""
    if not stage.volume or stage.scratches:
        return ()
    return MIXED_INPUTS if stage.mixed else LANDING_INPUTS


def _labels(stage: Stage) -> dict[str, str]:
    """Labels of the pod (Hera's `labels` are the pod's), for Services, network policies and podGC."""
    disk = {names.LABEL_DISK: DISK} if stage.scope is Scope.DISK else {}
    scratch = {names.LABEL_SCRATCH: "true"} if stage.scratch or stage.scratches else {}
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
