"""What each identity may do, as the API server lists it (`kubectl auth can-i --list`).

    python -m tests.real.cluster.rights                print it for the lab, where the chart is installed
    python -m tests.real.cluster.rights --write now    write it into docs/reference/rights.json

`make golden` makes docs/reference/rights.md of that file. The state `before` is that of an earlier version,
with which the table compares.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from steps.model.kinds import Object
from tests.real.cluster.chart import NAME
from tests.real.cluster.lab import ROOT, Lab, listed

FILE: Final = ROOT / "docs" / "reference" / "rights.json"
HERE, THERE = "release namespace", "other namespaces"
ACCOUNTS: Final = ("controller", "prepare", "data", "serve", "target", "uninstall")
"""Service accounts of the chart, without its name."""
OPERATOR, EDIT, VIEW = "Role vmferry-operator", "edit in a namespace", "view in a namespace"
ORDER: Final = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_ROW: Final = re.compile(r"(?P<resource>\S*)\s+\[(?P<urls>.*?)\]\s+\[(?P<names>.*?)\]\s+\[(?P<verbs>.*?)\]")

Kubectl = Callable[..., str]
Rights = dict[str, str]
"""Verbs by resource, such as `pods`, `pods/log` or `deployments.apps [one two]`."""
Table = dict[str, dict[str, Rights]]
"""Rights by identity and namespace."""


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
    places = {HERE: release, THERE: tenant}
    found: Table = {}
    for account in ACCOUNTS:
        user = f"{release}:{NAME}-{account}"
        found[f"{NAME}-{account}"] = {
            place: _beyond(rights(kubectl, user, namespace), rights(kubectl, f"{release}:nobody", namespace))
            for place, namespace in places.items()
        }
    for person, (bound, plain) in BOUND.items():
        place = HERE if person == OPERATOR else THERE
        namespace = places[place]
        with accounts(kubectl, namespace, bound, plain):
            found[person] = {
                place: _beyond(
                    *(rights(kubectl, f"{namespace}:{one.name}", namespace) for one in (bound, plain))
                )
            }
    return found


def rights(kubectl: Kubectl, account: str, namespace: str) -> Rights:
    """All rights of a service account (NAMESPACE:NAME) in a namespace, and cluster-wide."""
    user = f"--as=system:serviceaccount:{account}"
    return parse(kubectl("--namespace", namespace, "auth", "can-i", "--list", user))


def parse(text: str) -> Rights:
    """The table that kubectl prints; URLs that are no resources are left out."""
    found: Rights = {}
    for line in text.splitlines()[1:]:
        row = _ROW.fullmatch(line.strip())
        if row is None:
            raise ValueError(f"kubectl prints a line of another form: {line!r}")
        if row["resource"]:
            resource = f"{row['resource']} [{row['names']}]" if row["names"] else row["resource"]
            found[resource] = " ".join(sorted(row["verbs"].split(), key=_place))
    return found


def _place(verb: str) -> tuple[int, str]:
    return (ORDER.index(verb) if verb in ORDER else len(ORDER), verb)


def _beyond(more: Rights, less: Rights) -> Rights:
    """The verbs of `more` that are not in `less`."""
    found = {}
    for resource, verbs in sorted(more.items()):
        added = [verb for verb in verbs.split() if verb not in less.get(resource, "").split()]
        if added:
            found[resource] = " ".join(added)
    return found


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
    name = f"rights-{person.name}"
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": person.name, "namespace": namespace},
    }
    for number, role in enumerate(person.roles):
        kind, _, title = role.partition("/")
        yield {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{name}-{number}", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": title},
            "subjects": [{"kind": "ServiceAccount", "name": person.name, "namespace": namespace}],
        }


def load(file: Path = FILE) -> dict[str, Table]:
    """The documented tables, `before` and `now`."""
    found: dict[str, Table] = json.loads(file.read_text())
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show what each identity may do in the lab.")
    parser.add_argument("--write", choices=["before", "now"], help="write it into docs/reference/rights.json")
    state = parser.parse_args(argv).write
    lab = Lab.start()
    try:
        found = collect(lab.kubectl, lab.release, lab.make_namespace("rights"))
    finally:
        lab.reset()
    if state:
        FILE.write_text(json.dumps({**load(), state: found}, indent=1) + "\n")
    else:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
