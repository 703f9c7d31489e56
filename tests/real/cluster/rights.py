"""What each identity may do, as the API server lists it (`kubectl auth can-i --list`).

python -m tests.real.cluster.rights     prints it for the lab, where the chart is installed
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from steps.model.kinds import Object
from tests.real.chart.rights import (
    ACCOUNTS,
    EDIT,
    HERE,
    NAME,
    OPERATOR,
    PEOPLE,
    THERE,
    VIEW,
    Rights,
    Table,
    merged,
)
from tests.real.cluster.lab import Lab, listed

_ROW: Final = re.compile(r"(?P<resource>\S*)\s+\[(?P<urls>.*?)\]\s+\[(?P<names>.*?)\]\s+\[(?P<verbs>.*?)\]")

Kubectl = Callable[..., str]


class Person(NamedTuple):
    """A service account that stands for a person."""

    name: str
    roles: Sequence[str]
    """KIND/NAME of each role."""


# The built-in parts of the roles edit and view, without what charts add to them.
# Source: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go of Kubernetes.
_BUILT_IN: Final = ("ClusterRole/system:aggregate-to-edit", "ClusterRole/system:aggregate-to-view")
BOUND: Final[Mapping[str, tuple[Person, Person]]] = {
    OPERATOR: (Person("operator", ["Role/vmferry-operator"]), Person("nobody", [])),
    EDIT: (Person("editor", ["ClusterRole/edit"]), Person("plain-editor", _BUILT_IN)),
    VIEW: (Person("viewer", ["ClusterRole/view"]), Person("plain-viewer", _BUILT_IN[1:])),
}
"""Each person, and the account whose rights are left out of the table."""


def collect(kubectl: Kubectl, release: str, tenant: str) -> Table:
    """The rights of every identity beyond those of an account without any, or of the built-in role."""
    namespaces = {HERE: release, THERE: tenant}
    found: Table = {}
    for account in ACCOUNTS:
        user = f"{release}:{NAME}-{account}"
        found[f"{NAME}-{account}"] = {
            place: _beyond(rights(kubectl, user, namespace), rights(kubectl, f"{release}:nobody", namespace))
            for place, namespace in namespaces.items()
        }
    for person, (bound, plain) in BOUND.items():
        place, _ = PEOPLE[person]
        namespace = namespaces[place]
        with accounts(kubectl, namespace, bound, plain):
            more, less = (rights(kubectl, f"{namespace}:{one.name}", namespace) for one in (bound, plain))
            found[person] = {place: _beyond(more, less)}
    return found


def rights(kubectl: Kubectl, account: str, namespace: str) -> Rights:
    """All rights of a service account (NAMESPACE:NAME) in a namespace, and cluster-wide."""
    user = f"--as=system:serviceaccount:{account}"
    return parse(kubectl("--namespace", namespace, "auth", "can-i", "--list", user))


def parse(text: str) -> Rights:
    """The table that kubectl prints; URLs that are no resources are left out."""
    return merged(_rows(text))


def _rows(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines()[1:]:
        row = _ROW.fullmatch(line.rstrip())
        if row is None:
            raise ValueError(f"kubectl prints a line of another form: {line!r}")
        if row["resource"]:
            resource = f"{row['resource']} [{row['names']}]" if row["names"] else row["resource"]
            yield from ((resource, verb) for verb in row["verbs"].split())


def _beyond(more: Rights, less: Rights) -> Rights:
    """The verbs of `more` that are not in `less`."""
    return merged(
        (resource, verb)
        for resource, verbs in more.items()
        for verb in verbs.split()
        if verb not in less.get(resource, "").split()
    )


@contextmanager
def accounts(kubectl: Kubectl, namespace: str, *people: Person) -> Iterator[None]:
    """Service accounts in a namespace with bindings to their roles; they are deleted afterwards."""
    given = listed([one for person in people for one in _objects(person, namespace)])
    kubectl("apply", "--server-side", "-f", "-", given=given)
    try:
        yield
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", given=given)


def _objects(person: Person, namespace: str) -> Iterator[Object]:
    metadata = {"name": person.name, "namespace": namespace}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    for number, role in enumerate(person.roles):
        kind, _, title = role.partition("/")
        yield {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"rights-{person.name}-{number}", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": title},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        }


def main() -> int:
    lab = Lab.start()
    try:
        found = collect(lab.kubectl, lab.release, lab.make_namespace("rights"))
    finally:
        lab.reset()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
