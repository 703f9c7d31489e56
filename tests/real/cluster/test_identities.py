"""The API server decides what each of the five identities may do and may not do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from steps.model.kinds import Object
from tests.real.cluster.chart import Chart
from tests.real.cluster.lab import Lab, listed

HERE, THERE, ELSEWHERE = "here", "there", "elsewhere"
"""The release namespace, one with imports, and one that `namespaces` does not list."""
STEPS = ("data", "serve", "target", "scratch", "guest")
IMAGES = "virtualmachineimages.harvesterhci.io"


class Row(NamedTuple):
    """Resources, verbs and namespaces, each a list separated by spaces; all combinations count."""

    identity: str
    verbs: str
    resources: str
    where: str


ALLOWED = (
    Row("controller", "get list watch create patch delete", "workflows.argoproj.io configmaps", HERE),
    Row("controller", "get create patch delete", "secrets", HERE),
    Row("controller", "get create update", "leases.coordination.k8s.io", HERE),
    Row("controller", "get list watch patch", "virtualmachineimports.migration.harvesterhci.io", THERE),
    Row("controller", "get list watch patch", "vmwaresources.migration.harvesterhci.io", THERE),
    Row("controller", "patch", "virtualmachineimports.migration.harvesterhci.io/status", THERE),
    Row("controller", "get", "secrets virtualmachines.kubevirt.io", THERE),
    Row("controller", "create patch", "events", THERE),
    Row("controller", "list", "storageclasses.storage.k8s.io", ""),
    Row("controller", "list", "referencegrants.gateway.networking.k8s.io", THERE),
    Row("scratch", "list delete", "persistentvolumeclaims services pods", HERE),
    Row("controller", "get list create delete", "pods", HERE),
    Row("controller", "list", "persistentvolumeclaims", HERE),
    Row("controller", "get", "pods/log", HERE),
    *(Row(who, "get", "workflows.argoproj.io", HERE) for who in ("serve", "target")),
    Row("serve", "get list watch", IMAGES, THERE),
    Row(
        "target",
        "get list create patch",
        "virtualmachineimages.harvesterhci.io persistentvolumeclaims",
        THERE,
    ),
    Row("target", "get create patch", "virtualmachines.kubevirt.io", THERE),
    Row("target", "get", "datavolumes.cdi.kubevirt.io", THERE),
    Row("target", "get list create patch", "configmaps", HERE),
    Row("target", "get list create patch delete", "persistentvolumeclaims", HERE),
    Row("target", "get create", "services", HERE),
    Row("target", "get", "virtualmachineimports.migration.harvesterhci.io", THERE),
    Row("target", "list", "resourcequotas", THERE),
    Row("target", "list", "storageclasses.storage.k8s.io", ""),
    *(Row(who, "create patch", "workflowtaskresults.argoproj.io", HERE) for who in STEPS),
)
DENIED = (
    Row("controller", "list watch", "secrets", f"{HERE} {THERE} "),
    Row("controller", "create patch delete", "secrets configmaps pods virtualmachines.kubevirt.io", THERE),
    Row("controller", "create", "pods/exec serviceaccounts/token", HERE),
    Row("controller", "get create patch delete", "persistentvolumeclaims", HERE),
    Row("controller", "watch patch update", "pods", HERE),
    Row("controller", "get list", "pods pods/log", THERE),
    Row("check", "get list create patch delete", "pods configmaps secrets workflows.argoproj.io", HERE),
    Row("check", "create patch", "workflowtaskresults.argoproj.io", HERE),
    Row("check", "get list create patch", "secrets virtualmachines.kubevirt.io", THERE),
    Row("controller", "get create", "workflows.argoproj.io", THERE),
    Row("controller", "create delete", "virtualmachineimports.migration.harvesterhci.io", THERE),
    Row(
        "controller",
        "create patch",
        "clusterroles.rbac.authorization.k8s.io storageclasses.storage.k8s.io",
        "",
    ),
    *(Row(who, "get list", "secrets", f"{HERE} {THERE} ") for who in STEPS),
    *(Row(who, "create", "pods pods/exec", f"{HERE} {THERE}") for who in STEPS),
    *(Row(who, "get create patch", "workflows.argoproj.io", HERE) for who in ("scratch", "data")),
    Row("scratch", "get create patch", "configmaps persistentvolumeclaims services", HERE),
    Row("scratch", "get list delete", "persistentvolumeclaims services configmaps pods", THERE),
    Row("scratch", "get", IMAGES, THERE),
    Row("data", "get list", "configmaps persistentvolumeclaims services pods", f"{HERE} {THERE}"),
    Row("data", "get", "virtualmachineimages.harvesterhci.io virtualmachines.kubevirt.io", THERE),
    Row("data", "get list", "workflowtaskresults.argoproj.io", HERE),
    Row("serve", "create patch delete", IMAGES, THERE),
    *(Row(who, "create patch", "workflows.argoproj.io", HERE) for who in ("serve", "target")),
    Row("serve", "get", "persistentvolumeclaims virtualmachines.kubevirt.io", THERE),
    Row("target", "delete", "virtualmachines.kubevirt.io persistentvolumeclaims", THERE),
    Row("target", "patch", "virtualmachineimports.migration.harvesterhci.io", THERE),
    Row("target", "get list create delete", "pods", HERE),
    Row("target", "delete", "services configmaps", HERE),
    Row("target", "get list create", "configmaps", THERE),
)


class Question(NamedTuple):
    identity: str
    verb: str
    resource: str
    where: str


def questions(rows: Iterable[Row]) -> list[Question]:
    return [
        Question(row.identity, verb, resource, where)
        for row in rows
        for verb in row.verbs.split()
        for resource in row.resources.split()
        for where in row.where.split(" ")
    ]


def allowed(lab: Lab, asked: list[Question], namespaces: dict[str, str]) -> set[Question]:
    """The questions that the API server answers with yes."""
    reviews = [review(one, lab.release, namespaces[one.where]) for one in asked]
    answers = documents(lab.kubectl("create", "-f", "-", "--output", "json", given=listed(reviews)))
    return {one for one, answer in zip(asked, answers, strict=True) if answer["status"]["allowed"]}


def documents(text: str) -> Iterator[Object]:
    """The API's answers, which kubectl prints one after another."""
    decoder = json.JSONDecoder()
    while text := text.strip():
        found, end = decoder.raw_decode(text)
        yield found
        text = text[end:]


def review(asked: Question, release: str, namespace: str) -> dict[str, object]:
    """A SubjectAccessReview; `resource` is PLURAL[.GROUP][/SUBRESOURCE]."""
    what, _, subresource = asked.resource.partition("/")
    plural, _, group = what.partition(".")
    attributes = {"namespace": namespace, "verb": asked.verb, "resource": plural, "group": group}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{release}:vmferry-{asked.identity}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{release}", "system:authenticated"],
            "resourceAttributes": {**attributes, "subresource": subresource, "name": "one"},
        },
    }


@pytest.fixture(scope="module")
def namespaces(chart: Chart) -> Iterator[dict[str, str]]:
    lab = chart.lab
    names = [lab.make_namespace(f"identities-{name}") for name in (THERE, ELSEWHERE)]
    yield {"": "", HERE: lab.release, THERE: names[0], ELSEWHERE: names[1]}
    lab.reset()


@pytest.fixture(scope="module")
def narrowed(chart: Chart, namespaces: dict[str, str]) -> Iterator[Chart]:
    """The chart with a list of namespaces."""
    chart.install(namespaces=[namespaces[THERE]])
    yield chart
    chart.install()


def test_identities_may_do_what_they_need(chart: Chart, namespaces: dict[str, str]) -> None:
    wanted = questions(ALLOWED)
    assert set(wanted) - allowed(chart.lab, wanted, namespaces) == set()


def test_identities_may_not_do_what_they_do_not_need(chart: Chart, namespaces: dict[str, str]) -> None:
    assert allowed(chart.lab, questions(DENIED), namespaces) == set()


@pytest.mark.parametrize(
    ("account", "rights"),
    [("vmferry-data", {"workflowtaskresults.argoproj.io [] [] [create patch]"}), ("vmferry-check", set())],
)
def test_identity_with_credentials_may_only_report(chart: Chart, account: str, rights: set[str]) -> None:
    """The list of its rights equals that of an account without any, plus the report to Argo."""

    def listed_rights(name: str) -> set[str]:
        user = f"--as=system:serviceaccount:{chart.lab.release}:{name}"
        answers = chart.lab.kubectl("--namespace", chart.lab.release, "auth", "can-i", "--list", user)
        return {" ".join(line.split()) for line in answers.splitlines()}

    assert listed_rights(account) - listed_rights("nobody") == rights


def test_identities_may_do_the_same_in_listed_namespaces(narrowed: Chart, namespaces: dict[str, str]) -> None:
    wanted = questions(ALLOWED)
    assert set(wanted) - allowed(narrowed.lab, wanted, namespaces) == set()
    assert allowed(narrowed.lab, questions(DENIED), namespaces) == set()


def test_identities_may_do_nothing_outside_listed_namespaces(
    narrowed: Chart, namespaces: dict[str, str]
) -> None:
    elsewhere = [one._replace(where=ELSEWHERE) for one in questions(ALLOWED) if one.where == THERE]
    assert allowed(narrowed.lab, elsewhere, namespaces) == set()
