"""The meaning of a webhook's refusal: its exit code and its text. The texts are those of Harvester 1.8.2."""

from __future__ import annotations

import json

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind
from steps.model.refusals import DuplicateMacError
from steps.runtime.cluster import ChangedError, ReplacedError, failure

WEBHOOK = 'admission webhook "validator.harvesterhci.io" denied the request: '


def answered(
    status: int, message: str, *, verb: str = "create", kind: Kind = MACHINE, reason: str = ""
) -> StepError:
    body = json.dumps({"kind": "Status", "reason": reason, "message": message})
    return failure(verb, kind, "default/web", status, body)


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (500, "Internal error occurred: memory insufficient resources due to resource quota", Exit.NO_SPACE),
        (500, "storage insufficient resources due to resource quota", Exit.NO_SPACE),
        (500, 'network-attachment-definitions.k8s.cni.cncf.io "vlan9" not found', Exit.NOT_FOUND),
        (500, 'storageclass.storage.k8s.io "gone" not found', Exit.NOT_FOUND),
        (500, "missing default storage class", Exit.NOT_FOUND),
        (500, "can not use a backing image storageClass as the base storageClass template", Exit.INVALID),
        (500, "guest memory is under the minimum requirement (10 Mi), original: 1, final: 1", Exit.INVALID),
        (422, "the volume default/web is already used by VM default/other", Exit.INVALID),
        (400, "there is vmbackup in progress for vm default/web", Exit.INVALID),
        (409, "A resource with the same name exists", Exit.CONFLICT),
        (403, "[block-all] no VMs on Saturdays", Exit.DENIED),
    ],
)
def test_a_refusal_is_final_whatever_its_status(status: int, words: str, code: Exit) -> None:
    error = answered(status, WEBHOOK + words)
    assert error.code is code
    assert error.code.permanent
    assert words in str(error)


def test_a_refusal_without_a_reason_is_invalid() -> None:
    message = 'admission webhook "validator.harvesterhci.io" denied the request without explanation'
    assert answered(500, message).code is Exit.INVALID


def test_a_duplicate_mac_has_its_own_error() -> None:
    words = "duplicate mac address present for vm web for cluster network mgmt"
    error = answered(500, WEBHOOK + words)
    assert isinstance(error, DuplicateMacError)
    assert error.code is Exit.CONFLICT


@pytest.mark.parametrize(
    "message",
    [
        'Internal error occurred: failed calling webhook "validator.harvesterhci.io": connection refused',
        "etcdserver: request timed out",
    ],
)
def test_an_unreachable_webhook_is_not_a_refusal(message: str) -> None:
    assert answered(500, message).code is Exit.UNREACHABLE


def test_a_delete_refused_by_a_webhook_is_a_conflict() -> None:
    words = "can not delete the volume default/web-disk-0 which is currently attached to VM default/web"
    error = answered(409, WEBHOOK + words, verb="delete", kind=CLAIM, reason="Conflict")
    assert error.code is Exit.CONFLICT
    assert not isinstance(error, ChangedError)


@pytest.mark.parametrize(
    "words",
    [
        "the UID in the precondition (a) does not match the UID in record (b). The object might have been "
        "deleted and then recreated",
        "Precondition failed: UID in precondition: a, UID in object meta: b",
    ],
)
def test_another_object_of_that_name_is_a_replacement(words: str) -> None:
    message = f'Operation cannot be fulfilled on persistentvolumeclaims "web": {words}'
    error = answered(409, message, verb="delete", kind=CLAIM, reason="Conflict")
    assert isinstance(error, ReplacedError)


def test_a_conflict_of_versions_is_not_a_replacement() -> None:
    message = "Operation cannot be fulfilled on virtualmachineimages: the object has been modified"
    error = answered(409, message, verb="delete", kind=IMAGE, reason="Conflict")
    assert isinstance(error, ChangedError)
    assert not isinstance(error, ReplacedError)
