"""Every rule of the workflow's design, each with a small test of the YAML that ships."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from steps.model import names
from steps.model.contract import OUTPUTS, is_retryable
from steps.model.leftovers import from_text
from steps.model.plan import Gate
from tests.unit.builders import a_plan
from tests.unit.workflows.author.rendered import (
    GATES,
    PROGRAMS,
    TEMPLATE,
    Json,
    dags,
    inner_dags,
    keys,
    pod,
    spec,
    templates,
    texts,
    volumes,
)
from workflows import argo_names
from workflows.author.installation import Installation
from workflows.author.workflow import author
from workflows.stages import CLEANUP, EXIT_STAGES, RELEASE_SOURCE, Image, Scope, Stage

each_program = pytest.mark.parametrize("stage", PROGRAMS, ids=lambda stage: stage.name)

# --- what is forbidden


TIED_TO_A_NODE: Final = {"hostPath", "hostNetwork", "nodeSelector", "affinity", "nodeName", "hostAliases"}
BREAKS_RETRIES: Final = {"hooks", "continueOn", "daemon", "memoize", "steps", "failFast"}
OWN_CLAIMS: Final = {"volumeClaimTemplates", "volumeClaimGC", "persistentVolumeClaims"}
STARVES_PAIRS: Final = {"parallelism", "activeDeadlineSeconds", "timeout", "maxDuration"}
NEEDS_A_STORE: Final = {"artifacts", "archiveLogs", "archiveLocation"}
SHOWS_SECRETS: Final = {"env", "envFrom", "secretKeyRef"}


@pytest.mark.parametrize(
    "never", [TIED_TO_A_NODE, BREAKS_RETRIES, OWN_CLAIMS, STARVES_PAIRS, NEEDS_A_STORE, SHOWS_SECRETS]
)
def test_forbidden_fields_are_absent(never: set[str]) -> None:
    assert not never & set(keys(spec()))


def test_what_runs_at_the_end_is_in_the_exit_handler_and_nowhere_else() -> None:
    assert spec()["onExit"] == CLEANUP
    inside = {task["template"] for tasks in inner_dags().values() for task in tasks.values()}
    assert not inside & EXIT_STAGES
    assert list(keys(spec())).count("onExit") == 1


def test_the_exit_handler_stops_the_target_first_and_always_cleans_up() -> None:
    tasks = dags()[CLEANUP]
    assert list(tasks) == ["halt", RELEASE_SOURCE, "delete-scratch"]
    given = tasks[RELEASE_SOURCE]["arguments"]["parameters"]
    assert given == [{"name": "halt", "value": "{{tasks.halt.status}}"}]


def test_no_pod_starts_with_an_invented_progress() -> None:
    """Progress is in bytes, and the total is unknown before: Argo's own 0/1 stays until a step reports."""
    assert "workflows.argoproj.io/progress" not in TEMPLATE.read_text()


# --- parameters


def test_parameters_are_only_values_that_are_fixed_before_the_run() -> None:
    """No parameter is one to change later: a retry with `-p` runs everything after preflight again."""
    declared = {parameter["name"] for parameter in spec()["arguments"]["parameters"]}
    assert declared == {"run", "source", "undo", "keep-off", *(f"approve-{gate}" for gate in Gate)}


def test_run_sets_exactly_the_declared_parameters() -> None:
    given = author(a_plan(), Installation())["spec"]
    assert set(given) == {"arguments", "workflowTemplateRef"}  # all that `templateReferencing: Strict` needs
    declared = [parameter["name"] for parameter in spec()["arguments"]["parameters"]]
    assert [parameter["name"] for parameter in given["arguments"]["parameters"]] == declared


def test_every_reference_is_defined() -> None:
    parameters = {f"workflow.parameters.{one['name']}" for one in spec()["arguments"]["parameters"]}
    known = parameters | {"workflow.name", "workflow.namespace", "workflow.status", "item"}
    known |= {"inputs.parameters.halt", "tasks.halt.status"}
    known |= {"inputs.parameters.disk", "inputs.parameters.disks", "tasks.admit.outputs.parameters.disks"}
    used = {name for text in texts(spec()) for name in re.findall(r"{{(.*?)}}", text)}
    assert used <= known
    assert parameters - used == set()


# --- disks


def test_disks_fan_out_over_short_ids() -> None:
    """An item's text becomes part of its node's name."""
    disks = dags()["transfer"]["disks"]
    assert disks["withParam"] == "{{inputs.parameters.disks}}"
    assert disks["arguments"] == {"parameters": [{"name": "disk", "value": "{{item}}"}]}
    assert list(keys(spec())).count("withParam") == 1


def test_no_output_of_a_stage_that_reads_foreign_data_is_used() -> None:
    """Otherwise that stage would decide a part of another pod: a claim's name, a label, an argument."""
    used = {name for text in texts(spec()) for name in re.findall(r"{{tasks\.([^.]*)\.", text)}
    assert used == {"admit", "halt"}


@each_program
def test_disk_stages_have_only_the_disk_parameter(stage: Stage) -> None:
    taken = [parameter["name"] for parameter in pod(stage).get("inputs", {}).get("parameters", [])]
    assert taken == (
        ["disk"] if stage.scope is Scope.DISK else ["halt"] if stage.name == RELEASE_SOURCE else []
    )


def outputs() -> dict[str, dict[str, Json]]:
    found = {name: one["outputs"]["parameters"] for name, one in templates().items() if "outputs" in one}
    return {name: {one["name"]: one["valueFrom"] for one in given} for name, given in found.items()}


def test_outputs_have_a_default_for_failed_steps() -> None:
    assert outputs() == {
        "preflight": {
            "disks": {"path": str(OUTPUTS / "disks.json"), "default": "[]"},
            "machine": {"path": str(OUTPUTS / "machine"), "default": ""},
        },
        "admit": {
            name: {"path": str(OUTPUTS / f"{name}.json"), "default": "[]"}
            for name in ("admission", "disks", "volumes")
        },
        "poweroff": {"power": {"path": str(OUTPUTS / "power.json"), "default": "[]"}},
        "halt": {"remaining": {"path": str(OUTPUTS / "remaining.json"), "default": "[]"}},
        "image": {
            name: {"path": str(OUTPUTS / name), "default": ""}
            for name in ("image", "digest", "integrity", "volume")
        },
        # Not "[]", which means that nothing is left.
        "release-source": {
            "left": {"path": str(OUTPUTS / "left"), "default": ""},
            "restored": {"path": str(OUTPUTS / "restored.json"), "default": "[]"},
        },
    }


def test_a_source_that_was_not_asked_is_never_clean() -> None:
    default = outputs()["release-source"]["left"]["default"]
    assert from_text(default) is None


# --- gates and locks


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gate_suspends_only_if_requested(gate: Stage) -> None:
    assert pod(gate) == {"name": gate.name, "suspend": {}}
    (task,) = [tasks[gate.name] for tasks in dags().values() if gate.name in tasks]
    assert task["when"] == f"{{{{workflow.parameters.{gate.name}}}}} == true"


def test_only_gates_and_two_stages_of_the_end_are_conditional() -> None:
    assert list(keys(spec())).count("when") == len(GATES) + 2
    assert dags()[CLEANUP]["delete-scratch"]["when"] == "{{workflow.status}} == Succeeded"
    when = "{{workflow.status}} != Succeeded || {{workflow.parameters.undo}} == true"
    assert dags()[CLEANUP]["halt"]["when"] == when


def locks() -> dict[str, list[Json]]:
    found = {name: one.get("synchronization") for name, one in templates().items()}
    return {name: one["semaphores"] for name, one in found.items() if one}


def test_transfer_locks_vms_and_export_locks_streams() -> None:
    key = "{{workflow.parameters.source}}."
    assert locks() == {
        "transfer": [{"configMapKeyRef": {"name": argo_names.LIMITS, "key": key + "machines"}}],
        "export": [{"configMapKeyRef": {"name": argo_names.LIMITS, "key": key + "streams"}}],
    }


@each_program
def test_pending_timeout_except_while_waiting_for_a_lock(stage: Stage) -> None:
    """Argo counts the wait for a lock as pending, and does not retry a pod whose pending time ran out."""
    assert pod(stage).get("pendingTimeout") == (None if stage.limit else "30m")


# --- retries


def evaluated(expression: str, code: int, status: str = "Failed", message: str = "main: Error") -> bool:
    pattern = re.search(r"lastRetry.message matches ('.*')", expression)
    if pattern:
        matched = bool(re.search(pattern[1].strip("'"), message))
        expression = expression.replace(pattern[0], repr(matched))
    words = {
        "lastRetry.status": repr(status),
        "lastRetry.exitCode": repr(str(code)),
        "||": "or",
        "&&": "and",
        "asInt": "int",
    }
    for word, python in words.items():
        expression = expression.replace(word, python)
    return bool(eval(expression))  # noqa: S307 - our own text


CHECKED: Final = tuple(stage for stage in PROGRAMS if stage.checks_source)


@pytest.mark.parametrize("stage", CHECKED, ids=lambda stage: stage.name)
@pytest.mark.parametrize("container", ["unchanged", "power-record"])
def test_a_failed_init_container_is_retried_by_its_exit_code(stage: Stage, container: str) -> None:
    """Argo has no exit code of it, only "-1", but its message has the code."""
    expression = pod(stage)["retryStrategy"]["expression"]
    for code in range(1, 256):
        message = f"{container}: Error (exit code {code}): the copies are stale"
        assert evaluated(expression, -1, message=message) is is_retryable(code)
    assert evaluated(expression, -1, "Error", f"Pod failed before {container} container starts"), (
        "no exit code"
    )


@pytest.mark.parametrize("stage", CHECKED, ids=lambda stage: stage.name)
def test_words_of_the_stage_itself_do_not_change_its_retries(stage: Stage) -> None:
    expression = pod(stage)["retryStrategy"]["expression"]
    message = "main: Error (exit code 30): it says\nunchanged: Error (exit code 21): x"
    assert evaluated(expression, 30, message=message)


@each_program
def test_retry_expression_matches_the_exit_codes(stage: Stage) -> None:
    expression = pod(stage)["retryStrategy"]["expression"]
    assert [evaluated(expression, code) for code in range(1, 256)] == [
        is_retryable(code) for code in range(1, 256)
    ]
    assert evaluated(expression, -1, "Error"), "a pod that is gone has no exit code"
    assert "retryPolicy" not in pod(stage)["retryStrategy"], "without one an expression means any failure"


@each_program
def test_retry_limits_match_the_stage_table(stage: Stage) -> None:
    found = pod(stage)["retryStrategy"]
    assert found["limit"] == stage.retry.limit
    assert found["backoff"] == {"duration": "10s", "factor": 2, "cap": "60s"}
    assert (stage.retry.first, stage.retry.factor, stage.retry.cap) == (10, 2, 60)


# --- identities and secrets


@each_program
def test_each_stage_has_the_service_account_of_the_table(stage: Stage) -> None:
    assert pod(stage)["serviceAccountName"] == f"vmferry-{stage.identity}"


def test_the_default_service_account_is_data() -> None:
    assert spec()["serviceAccountName"] == "vmferry-data"


@each_program
def test_credentials_are_mounted_only_where_needed(stage: Stage) -> None:
    mounted = volumes(stage).get("/run/source")
    assert (mounted is not None) is stage.credentials
    if mounted:
        secret = {"secretName": "{{workflow.parameters.run}}-source", "defaultMode": 0o440}
        assert mounted["secret"] == secret
        assert mounted["readOnly"] is True


@each_program
def test_the_check_of_the_source_is_an_init_container_with_credentials_and_without_a_token(
    stage: Stage,
) -> None:
    found = {one["name"]: one for one in pod(stage).get("initContainers", [])}
    assert list(found) == (["power-record", "unchanged"] if stage.checks_source else [])
    if not found:
        return
    by_name = {volume["name"]: volume for volume in pod(stage)["volumes"]}
    mounts = {
        name: {mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]}
        for name, one in found.items()
    }
    assert by_name[mounts["unchanged"]["/run/source"]]["secret"]["secretName"].endswith("-source")
    assert by_name[mounts["unchanged"][SERVICE_ACCOUNT]]["emptyDir"] is not None, "even without patches"
    assert SERVICE_ACCOUNT not in mounts["power-record"], "only a patch mounts a token"
    patched = json.loads(pod(stage)["podSpecPatch"])["initContainers"]
    assert patched == [{"name": "power-record", "volumeMounts": [MOUNT]}]
    assert "/run/source" not in mounts["power-record"]
    assert mounts["power-record"]["/run/power"] == mounts["unchanged"]["/run/power"]
    assert "/run/source" not in volumes(stage)
    assert mounts["unchanged"][str(OUTPUTS)] != volumes(stage)[str(OUTPUTS)]["name"], "not the /tmp of main"
    for name, one in found.items():
        target = "vmware" if name == "unchanged" else stage.image
        assert one["image"].rpartition(":")[0] == f"vmferry/{target}"
        assert one["securityContext"] == pod(stage)["container"]["securityContext"]
        assert set(one["resources"]["limits"]) == {"memory"}
        assert one["terminationMessagePolicy"] == "FallbackToLogsOnError"


@each_program
def test_secret_part_of_the_url_is_mounted_only_where_needed(stage: Stage) -> None:
    mounted = volumes(stage).get("/run/address")
    assert (mounted is not None) is stage.address
    if mounted:
        assert mounted["secret"]["secretName"] == "{{workflow.parameters.run}}-address"


def test_no_other_secret_is_mounted() -> None:
    mounted = {path for stage in PROGRAMS for path, one in volumes(stage).items() if "secret" in one}
    assert mounted == {"/run/source", "/run/address"}


@each_program
def test_scratch_is_the_disks_own_claim(stage: Stage) -> None:
    mounted = volumes(stage).get("/scratch")
    assert (mounted is not None) is stage.scratch
    if mounted:
        name = "{{workflow.parameters.run}}-{{inputs.parameters.disk}}"
        assert mounted["persistentVolumeClaim"] == {"claimName": name}


def test_only_one_of_the_parallel_stages_mounts_the_claim() -> None:
    parallel = [stage for stage in PROGRAMS if stage.after == ("convert",)]
    assert [stage.name for stage in parallel if "/scratch" in volumes(stage)] == ["serve"]
    assert len(parallel) == 2


@each_program
def test_the_request_is_read_only(stage: Stage) -> None:
    mounted = volumes(stage)["/request"]
    given = [source["configMap"]["name"] for source in mounted["projected"]["sources"]]
    run, workflow = "{{workflow.parameters.run}}", "{{workflow.name}}"
    early = stage.name in ("preflight", "admit") or stage.scope is Scope.EXIT
    optional = [source["configMap"].get("optional", False) for source in mounted["projected"]["sources"]]
    maybe = stage.name == RELEASE_SOURCE
    assert any(optional) is maybe, "the exit handler also runs where nothing was found"
    found = [f"{run}-machine"] if maybe or not early else []
    assert given == [f"{run}-request", *found, *([] if early else [f"{workflow}-volumes"])]
    assert mounted["readOnly"] is True


@each_program
def test_outputs_go_to_a_small_emptydir(stage: Stage) -> None:
    assert volumes(stage)[str(OUTPUTS)]["emptyDir"] == {"sizeLimit": "128Mi"}


# --- Pod Security `restricted`


@each_program
def test_containers_have_no_privileges(stage: Stage) -> None:
    assert pod(stage)["container"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def test_a_pod_is_not_root_and_its_user_is_a_number() -> None:
    found = spec()["securityContext"]
    assert (found["runAsNonRoot"], found["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert {found["runAsUser"], found["runAsGroup"], found["fsGroup"]} == {10001}


def test_argo_containers_are_restricted_too() -> None:
    patch = json.loads(spec()["podSpecPatch"])
    patched = [*patch["initContainers"], *patch["containers"]]
    assert [one["name"] for one in patched] == ["init", "wait"]
    for one in patched:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    assert "{{" not in spec()["podSpecPatch"]


# --- tokens of the API

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
MOUNT: Final = {"name": "api-access", "mountPath": SERVICE_ACCOUNT, "readOnly": True}


def test_no_container_gets_the_token_of_its_service_account_by_itself() -> None:
    assert json.loads(spec()["podSpecPatch"])["automountServiceAccountToken"] is False
    # This field of Argo needs a Secret with a token that never expires.
    assert "automountServiceAccountToken" not in set(keys(spec()))
    assert "executor" not in set(keys(spec()))


def test_argo_containers_have_a_token_of_the_pod_that_expires() -> None:
    patch = json.loads(spec()["podSpecPatch"])
    assert [one["volumeMounts"] for one in (*patch["initContainers"], *patch["containers"])] == [
        [MOUNT],
        [MOUNT],
    ]
    (volume,) = patch["volumes"]
    token, authority, namespace = volume["projected"]["sources"]
    assert volume["name"] == MOUNT["name"]
    assert token == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
    assert authority["configMap"]["name"] == "kube-root-ca.crt"
    assert authority["configMap"]["items"][0]["path"] == "ca.crt"
    assert namespace["downwardAPI"]["items"][0]["path"] == "namespace"


@each_program
def test_a_program_has_a_token_only_if_it_uses_the_api(stage: Stage) -> None:
    patch = pod(stage).get("podSpecPatch")
    wanted = {"containers": [{"name": "main", "volumeMounts": [MOUNT]}]}
    if stage.checks_source:
        wanted["initContainers"] = [{"name": "power-record", "volumeMounts": [MOUNT]}]
    assert (json.loads(patch) if patch else None) == (wanted if stage.api else None)
    assert "{{" not in (patch or "")
    assert (
        stage.name in {"admit", "serve", "image", "build", "start", "halt", "delete-scratch"}
    ) is stage.api


@each_program
def test_only_a_program_with_a_token_imports_the_client_of_the_api(stage: Stage) -> None:
    text = (Path(__file__).parents[4] / "steps" / f"{stage.program}.py").read_text()
    uses = "kubeapi" in text or "steps.targets import connect" in text
    assert uses is stage.api


def test_progress_tick_is_short_and_grace_period_is_long() -> None:
    patch = json.loads(spec()["podSpecPatch"])
    tick = {"name": "ARGO_PROGRESS_PATCH_TICK_DURATION", "value": "10s"}
    assert patch["containers"][0]["env"] == [tick]
    assert patch["terminationGracePeriodSeconds"] == 60


# --- pods


@each_program
def test_stage_runs_its_module(stage: Stage) -> None:
    assert pod(stage)["container"]["command"] == ["python", "-m", f"steps.{stage.program}"]


@each_program
def test_stage_runs_in_its_image(stage: Stage) -> None:
    target = "vmware" if stage.image is Image.PROVIDER else stage.image
    assert pod(stage)["container"]["image"].rpartition(":")[0] == f"vmferry/{target}"


@each_program
def test_termination_message_falls_back_to_logs(stage: Stage) -> None:
    assert pod(stage)["container"]["terminationMessagePolicy"] == "FallbackToLogsOnError"


@each_program
def test_every_container_has_requests_and_a_memory_limit(stage: Stage) -> None:
    found = pod(stage)["container"]["resources"]
    assert set(found["requests"]) == {"cpu", "memory"}
    assert set(found["limits"]) == {"memory"}


def test_pods_are_deleted_on_success_and_kept_on_failure() -> None:
    """All of them: 40 imports left 237 finished pods. A pod with scratch also keeps its claim in use."""
    assert spec()["podGC"] == {"strategy": "OnWorkflowSuccess"}
    assert all(names.LABEL_SCRATCH in pod(one)["metadata"]["labels"] for one in PROGRAMS if one.scratch), (
        "delete-scratch finds by it those that were done before a retry"
    )


def test_finished_workflows_are_deleted_after_their_ttl() -> None:
    assert spec()["ttlStrategy"] == {"secondsAfterSuccess": 7 * 86400, "secondsAfterFailure": 30 * 86400}


def test_serve_has_labels_for_its_service_and_a_readiness_probe() -> None:
    serve = templates()["serve"]
    assert spec()["podMetadata"]["labels"][names.LABEL_RUN] == "{{workflow.parameters.run}}"
    assert serve["metadata"]["labels"][names.LABEL_DISK] == "{{inputs.parameters.disk}}"
    assert serve["metadata"]["labels"][names.LABEL_STAGE] == "serve"
    assert serve["container"]["ports"] == [{"name": "http", "containerPort": 8080}]
    assert serve["container"]["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}


def test_no_mesh_sidecar_is_injected() -> None:
    assert spec()["podMetadata"]["labels"]["sidecar.istio.io/inject"] == "false"


# --- what users see

DISPLAY_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]")
"""argo-workflows workflow/controller/operator.go, displayNameRegex: anything else makes the node an Error."""


@pytest.mark.parametrize("disk", ["disk-0", "disk-999"])
def test_display_names_are_readable(disk: str) -> None:
    annotated = {name: one["annotations"] for name, one in templates().items() if "annotations" in one}
    shown = {
        name: one["workflows.argoproj.io/display-name"].replace("{{inputs.parameters.disk}}", disk)
        for name, one in annotated.items()
    }
    per_disk = {stage.name: f"{stage.name}-{disk}" for stage in PROGRAMS if stage.scope is Scope.DISK}
    assert shown == {**per_disk, "disks": disk}
    assert all(DISPLAY_NAME.fullmatch(text) for text in shown.values())
