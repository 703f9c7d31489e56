"""What it means when an admission webhook refuses an object. Pure.

A refusal is permanent: the same request gets the same answer until a person changes something. Harvester's
webhook answers many refusals with the status 500 (its Go errors become `InternalError`), so the status alone
does not distinguish a refusal from a server fault (harvester v1.8.2, pkg/webhook/server, pkg/webhook/error).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from steps.model.contract import Exit, StepError

_DENIED: Final = re.compile(
    r'admission webhook "[^"]*" denied the request(?: without explanation|: (.*))', re.DOTALL
)
"""k8s.io/apiserver, pkg/admission/plugin/webhook/errors/statuserror.go, ToStatusErr. Of a webhook that it
cannot reach the API server reports `failed calling webhook` instead: that is not a refusal."""


class DuplicateMacError(StepError):
    """Another VM has one of the MAC addresses. Harvester's webhook names neither."""


class MissingNetworkError(StepError):
    """A NetworkAttachmentDefinition of the VM does not exist."""


class _Rule(NamedTuple):
    words: re.Pattern[str]
    code: Exit
    remedy: str
    error: type[StepError] = StepError


_RULES: Final = (
    # pkg/util/resourcequota/error.go; Kubernetes' own ResourceQuota uses another status (403)
    _Rule(
        re.compile(r"insufficient resources due to resource quota|exceeded quota"),
        Exit.NO_SPACE,
        "raise the quota of the namespace or free some of it, then retry",
    ),
    # pkg/webhook/resources/virtualmachine/validator.go, getClusterNetworkForNad
    _Rule(
        re.compile(r'network-attachment-definitions?[^ ]* "[^"]*" not found'),
        Exit.NOT_FOUND,
        "create that NetworkAttachmentDefinition, or correct spec.networkMapping, then retry",
        MissingNetworkError,
    ),
    _Rule(
        re.compile(
            r'storageclass[^ ]* "[^"]*" not found|[Mm]issing default storage class|no default storageClass'
        ),
        Exit.NOT_FOUND,
        "set spec.storageClass to a class that exists, then retry",
    ),
)
_DUPLICATE_MAC: Final = "duplicate mac address"
"""pkg/webhook/resources/virtualmachine/validator.go, checkForDuplicateMacAddrs"""
_STATUS: Final[dict[int, tuple[Exit, str]]] = {
    403: (Exit.DENIED, "an admission policy of the cluster refuses it"),
    409: (Exit.CONFLICT, "remove the object that is in the way, or choose another name, then retry"),
}


def refusal(what: str, status: int, message: str) -> StepError | None:
    """The error for an answer in which an admission webhook refuses a request; None for any other answer.

    `what` is the failed action, such as `cannot create VirtualMachine default/web`. The error keeps the
    webhook's message.
    """
    found = _DENIED.search(message)
    if found is None:
        return None
    words = found[1] or ""
    if _DUPLICATE_MAC in words:
        return DuplicateMacError(Exit.CONFLICT, what, message, "another VM has a MAC address of this VM")
    for rule in _RULES:
        if rule.words.search(words):
            return rule.error(rule.code, what, message, rule.remedy)
    code, remedy = _STATUS.get(status, (Exit.INVALID, ""))
    return StepError(code, what, message, remedy)
