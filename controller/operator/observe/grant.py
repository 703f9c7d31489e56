"""Whether an import may use a source of another namespace: the owner of the source grants it.

A grant is the annotation `ALLOWED` of the source, or a ReferenceGrant of the Gateway API in the namespace of
the source (https://gateway-api.sigs.k8s.io/api-types/referencegrant/), if the cluster has that kind.
"""

from __future__ import annotations

from controller.operator.observe import fields
from controller.operator.options import Options, References
from steps.model.contract import Exit, StepError
from steps.model.grants import ALLOWED, is_allowed
from steps.model.kinds import IMPORT, REFERENCE_GRANT, SECRET, Kind, Object
from steps.runtime.cluster import Cluster


def is_granted(
    cluster: Cluster,
    options: Options,
    kind: Kind,
    source: Object | None,
    place: tuple[str, str],
    importing: Kind = IMPORT,
) -> bool:
    """Whether an import of namespace `place[0]` may use the source, which is in namespace `place[1]`.

    Imports of `v2v.kubevirt.io` use a Secret and a ResourceMapping instead of a source, by the same rule.
    `importing` is the kind of the import. No setting allows the Secrets of everybody.
    """
    own, namespace = place
    allows_all = options.cross_namespace_references is References.ALLOW and kind != SECRET
    if own == namespace or allows_all:
        return True
    if source is None:
        return False
    if is_allowed(source, own):
        return True
    name = str(source["metadata"]["name"])
    return any(_allows(grant, importing, own, kind, name) for grant in _grants(cluster, namespace))


def refusal(kind: Kind, name: str, place: tuple[str, str]) -> str:
    """The message for an import without a grant. It does not reveal whether the source exists."""
    own, namespace = place
    return (
        f"{kind.kind} {namespace}/{name} is in another namespace and does not allow imports of {own}. Its "
        f"owner allows them with: kubectl annotate {kind.plural} -n {namespace} {name} {ALLOWED}={own}"
    )


def _grants(cluster: Cluster, namespace: str) -> list[Object]:
    try:
        return cluster.find(REFERENCE_GRANT, namespace)
    except StepError as error:
        if error.code not in (Exit.NOT_FOUND, Exit.DENIED):  # the kind is optional
            raise
        return []


def _allows(grant: Object, importing: Kind, own: str, kind: Kind, name: str) -> bool:
    spec = fields.mapping(grant.get("spec"))
    from_ = any(
        (given.get("group"), given.get("kind"), given.get("namespace"))
        == (importing.group, importing.kind, own)
        for given in fields.rows(spec.get("from"))
    )
    to = any(
        (given.get("group") or "", given.get("kind")) == (kind.group, kind.kind)
        and given.get("name") in (None, "", name)
        for given in fields.rows(spec.get("to"))
    )
    return from_ and to
