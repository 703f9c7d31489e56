"""What must work before a VM may be shut down: the rights of the account, and exports at all.

Nothing is changed: the rights are asked for (SelfSubjectAccessReview), and an export is created as a dry run,
which passes the webhook of KubeVirt (KV pkg/storage/admitters/vmexport.go).
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

import structlog

from steps.disk.faults import connection_fault
from steps.disk.http_client import HttpClient
from steps.model.contract import Exit, StepError
from steps.providers.kubevirt import api, faults
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api, path_of
from steps.runtime import certificates

log = structlog.get_logger()

GATE: Final = "VMExport"
"""The feature gate. Exports need none from KubeVirt 1.9 on."""
_GATE_REFUSAL: Final = "feature gate not enabled"
_HARVESTER: Final = "/apis/harvesterhci.io/v1beta1"
_DRY_RUN: Final = "vmferry-check"


@dataclass(frozen=True)
class Right:
    """A right of the account in the namespace of the VMs."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        resource = "/".join(filter(None, (self.resource, self.subresource)))
        return f"{self.verb} {resource}{'.' if self.group else ''}{self.group}"


RIGHTS: Final = (
    *(Right(verb, "kubevirt.io", "virtualmachines") for verb in ("get", "list", "patch")),
    Right("get", "kubevirt.io", "virtualmachineinstances"),
    *(Right("update", "subresources.kubevirt.io", "virtualmachines", action) for action in ("stop", "start")),
    Right("get", "", "persistentvolumeclaims"),
    *(Right(verb, "export.kubevirt.io", "virtualmachineexports") for verb in ("create", "get", "delete")),
    *(Right(verb, "", "secrets") for verb in ("create", "delete")),
)
"""What an import needs. docs/how-to/sources.md has them as a Role."""


def check(source: Api) -> None:
    """Prove that disks can be exported.

    Raises:
        StepError: DENIED, with all missing rights; UNSUPPORTED without the feature gate, with the command
            that turns it on; UNREACHABLE.
    """
    check_rights(source)
    check_exports(source)


def check_rights(source: Api) -> None:
    """Prove that the account has `RIGHTS`. Raises StepError: DENIED."""
    missing = [right for right in RIGHTS if not _is_allowed(source, right)]
    if missing:
        raise StepError(
            Exit.DENIED,
            f"the account of the kubeconfig may not export VMs of the namespace {source.namespace}",
            f"it lacks the rights: {', '.join(map(str, missing))}",
            "create the Role of docs/how-to/sources.md for it",
        )


def _is_allowed(source: Api, right: Right) -> bool:
    attributes = {
        "namespace": source.namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        **({"subresource": right.subresource} if right.subresource else {}),
    }
    review = {
        "apiVersion": api.REVIEWS[0],
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = source.create("ask for the rights of the account", path_of(api.REVIEWS), review)
    return answer.flag("status", "allowed")


def export_document(
    source: Api, name: str, claim: str, secret: str, ttl: str, labels: dict[str, str]
) -> dict[str, object]:
    """A VirtualMachineExport of a claim."""
    return {
        "apiVersion": api.EXPORTS[0],
        "kind": "VirtualMachineExport",
        "metadata": {"name": name, "namespace": source.namespace, "labels": labels},
        "spec": {
            "source": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": claim},
            "tokenSecretRef": secret,
            "ttlDuration": ttl,
        },
    }


def check_exports(source: Api) -> None:
    """Prove that the cluster accepts exports. Raises StepError: UNSUPPORTED."""
    document = export_document(source, _DRY_RUN, "any", _DRY_RUN, "1h0m0s", {})
    what = f"cannot export disks from {source.host}"
    try:
        path = path_of(api.EXPORTS, source.namespace)
        source.create("export disks", path, document, dry_run=True)
    except faults.RefusedError as error:
        if _GATE_REFUSAL in error.text:
            raise StepError(
                Exit.UNSUPPORTED, what, f"the feature gate {GATE} is off", _remedy(source)
            ) from error
        if error.code is Exit.NOT_FOUND:
            raise StepError(
                Exit.UNSUPPORTED,
                what,
                "the cluster has no VirtualMachineExports, or no such namespace",
                "update KubeVirt, and check the namespace of the source",
            ) from error
        raise


def check_address(source: Api, address: str) -> None:
    """Prove that something answers at the address of virt-exportproxy, if the source names one.

    Nothing is sent. The certificate is checked when a disk is read: only then the cluster names the CA.

    Raises:
        StepError: UNREACHABLE; INVALID, for an address that the network guard refuses.
    """
    if not address:
        return
    client = HttpClient(address, certificates.tls_context(insecure=True))
    try:
        client.probe()
    except (OSError, HTTPException, ssl.SSLError) as error:
        fault = connection_fault(error, client.name)
        remedy = f"{fault.remedy}; or correct spec.exportAddress of the source"
        raise type(fault)(fault.code, f"no disk can be read: {fault.what}", fault.why, remedy) from error
    finally:
        client.close()


def _remedy(source: Api) -> str:
    """The command that turns on the feature gate in this cluster."""
    if _is_harvester(source):
        return (
            f"turn it on: {patch_command('harvester-system', 'kubevirt', None)}, and off again before "
            "Harvester is upgraded, as docs/how-to/sources.md describes"
        )
    namespace, name, gates = _kubevirt(source)
    command = f"turn it on: {patch_command(namespace, name, gates)}"
    if gates is not None:
        return command
    # A JSON patch cannot create the list and also keep one that is there.
    return f"{command} (if the patch fails because no gate is set yet: {patch_command(namespace, name, ())})"


def patch_command(namespace: str, name: str, gates: tuple[str, ...] | None) -> str:
    """The command that adds the feature gate to those that are on; None: it is not known which are on."""
    place = f"kubectl patch kubevirt -n {namespace} {name}"
    if gates is None:
        where = "/spec/configuration/developerConfiguration/featureGates/-"
        change = json.dumps([{"op": "add", "path": where, "value": GATE}])
        return f"{place} --type=json -p '{change}'"
    configuration = {"developerConfiguration": {"featureGates": [*gates, GATE]}}
    return f"{place} --type=merge -p '{json.dumps({'spec': {'configuration': configuration}})}'"


def _is_harvester(source: Api) -> bool:
    try:
        return source.find("look for Harvester", _HARVESTER) is not None
    except StepError as error:
        log.info("cannot find out whether this is a Harvester", why=error.why)
        return False


def _kubevirt(source: Api) -> tuple[str, str, tuple[str, ...] | None]:
    """Namespace, name and feature gates of the KubeVirt object; the usual ones if it cannot be read."""
    try:
        found: Answer | None = next(source.pages("read the KubeVirt object", path_of(api.KUBEVIRTS)), None)
    except StepError as error:
        log.info("cannot read the KubeVirt object", why=error.why)
        found = None
    if found is None:
        return "kubevirt", "kubevirt", None
    gates = found.texts("spec", "configuration", "developerConfiguration", "featureGates")
    return found.text("metadata", "namespace"), found.name, gates
