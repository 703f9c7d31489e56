"""An import of `v2v.kubevirt.io` as it was found: the same facts as of one of our own API.

Its source is a Secret, and a ResourceMapping may have rows for it. Both may be in another namespace, if their
owner grants it (`observe.grant`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from controller.operator import v2v_state
from controller.operator.observe.checks import name_reasons, template_reasons
from controller.operator.observe.fields import mapping
from controller.operator.observe.grant import is_granted, refusal
from controller.operator.observe.secret import TYPES, is_usable, unusable_here
from controller.operator.observe.source import READY, SOURCE_NOT_READY, TRY_NOW, ResolvedSource
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.kinds import (
    RESOURCE_MAPPING,
    SECRET,
    SECRET_SOURCES,
    V2V_API_VERSION,
    V2V_IMPORT,
    Kind,
    Object,
)
from steps.model.plan import Plan
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster, each
from workflows import texts
from workflows.api.conditions import find
from workflows.api.resources import Metadata, VirtualMachineImport
from workflows.api.sources import Source
from workflows.api.status import ImportPhase, ImportStatus
from workflows.api.v2v import ResourceMappingSpec, V2vImportSpec, V2vStatus
from workflows.argo_names import attempt_of
from workflows.plan import source_reasons
from workflows.stages import CHECKS
from workflows.status.phase import SUCCEEDED
from workflows.status.v2v import DUPLICATE, NO_MAPPING, NOT_CHECKED_YET, foreign_status
from workflows.v2v import (
    FAILED,
    INCOMPLETE,
    Refusal,
    TranslatedImport,
    completed,
    mapping_of,
    mapping_refusals,
    refusals,
    rows_of,
    secret_of,
    source_from,
    source_of,
    translate,
)
from workflows.v2v_secret import KEYS, SecretError, read

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(minutes=15)
"""After a check has refused an import it is checked again, as with vm-import-operator; the pauses grow."""


class SecretSource(NamedTuple):
    """A Secret as a source (`steps.model.kinds.SECRET_SOURCES`)."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Dialect:
    """What only an import of this dialect has."""

    spec: V2vImportSpec
    before: V2vStatus
    """Its status as it was found."""
    shared: ResourceMappingSpec | None = None
    """The rows of its ResourceMapping."""
    refusals: tuple[Refusal, ...] = ()
    secret: SecretSource | None = None
    """The Secret to check, which the import may use."""

    @property
    def kind(self) -> SourceKind | None:
        found = source_of(self.spec)
        return found[0] if found is not None else None


@dataclass(frozen=True)
class Found:
    """An import in the engine's terms."""

    import_: TranslatedImport
    fault: str
    status: ImportStatus
    resolved: ResolvedSource
    dialect: Dialect = field(repr=False)


def is_v2v(raw: Object) -> bool:
    """Whether an import is of this dialect."""
    return bool(raw.get("apiVersion") == V2V_API_VERSION)


def read_status(cluster: Cluster, options: Options, raw: Object) -> ImportStatus:
    """The engine's status. Raises StepError."""
    known = v2v_state.read_import(cluster, options.namespace, str(raw["metadata"]["uid"]))
    return known if known is not None else foreign_status(V2vStatus.read(raw.get("status")))


def parse(raw: Object) -> tuple[V2vImportSpec, str]:
    """The spec without the fields that cannot be read, and the error in them."""
    given = dict(mapping(raw.get("spec")))
    try:
        return _validated(given), ""
    except ValidationError as error:
        bad = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
        rest = {name: value for name, value in given.items() if name not in bad}
        return _validated(rest), f"spec.{first_error(error)}"


def _validated(spec: dict[str, Any]) -> V2vImportSpec:
    return V2vImportSpec.model_validate(spec, by_alias=True, by_name=False)


def find_import(cluster: Cluster, options: Options, raw: Object, now: datetime) -> Found:
    """The import `raw` in the engine's terms.

    Raises:
        StepError: where the API does not answer.
    """
    spec, fault = parse(raw)
    import_ = translate(raw["metadata"], spec, options.v2v.on_failure)
    status = read_status(cluster, options, raw)
    wrong = tuple(refusals(spec, now))
    before = V2vStatus.read(raw.get("status"))
    if fault or wrong:
        return Found(import_, fault, status, ResolvedSource(), Dialect(spec, before, refusals=wrong))
    resolved, dialect = _resolve(cluster, options, raw, Dialect(spec, before))
    return Found(import_, fault, status, resolved, dialect)


def plan_reasons(
    cluster: Cluster, import_: VirtualMachineImport, plan: Plan, options: Options
) -> Iterator[Refusal]:
    """Why the cluster cannot carry out the plan. `admit` checks the networks and classes that it needs."""
    yield from (Refusal(DUPLICATE, reason) for reason in name_reasons(cluster, import_, plan))
    yield from (Refusal(FAILED, reason) for reason in template_reasons(cluster, plan, options))


def with_rows(plan: Plan, dialect: Dialect, raw: Object) -> Plan:
    """The plan with what only this dialect can say."""
    rows = rows_of(dialect.spec, dialect.shared, plan.import_.namespace)
    return completed(plan, rows, raw["metadata"])


def is_checked_again(status: ImportStatus, before: Plan | None, now: Plan | None, time: datetime) -> bool:
    """Whether an import that a check has refused is checked again: after a pause, or with other rows."""
    stage = status.step.partition(" ")[0]
    if status.import_status != ImportPhase.INVALID or status.workflow is None or stage not in CHECKS:
        return False
    if before is not None and now is not None and before.target != now.target:
        return True
    summary = find(status.import_conditions, SUCCEEDED)
    return summary is not None and time >= _since(summary.last_transition_time, time) + pause(status)


def pause(status: ImportStatus) -> timedelta:
    """The pause before the next check."""
    attempt = attempt_of(status.workflow.name) if status.workflow is not None else 0
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(attempt, 10)))


def _since(text: str, now: datetime) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return now
    return time if time.tzinfo else time.replace(tzinfo=now.tzinfo)


# --- Secret and mapping


def _resolve(
    cluster: Cluster, options: Options, raw: Object, dialect: Dialect
) -> tuple[ResolvedSource, Dialect]:
    own = str(raw["metadata"]["namespace"])
    secret_place, mapping_place = secret_of(dialect.spec, own), mapping_of(dialect.spec, own)
    secret, denied = _get(cluster, SECRET, secret_place)
    shared = _get(cluster, RESOURCE_MAPPING, mapping_place)[0] if mapping_place is not None else None
    uses: list[tuple[Kind, tuple[str, str], Object | None]] = [(SECRET, secret_place, secret)]
    if mapping_place is not None:
        uses.append((RESOURCE_MAPPING, mapping_place, shared))
    if refused := list(_not_granted(cluster, options, own, uses)):
        reason = "SecretNotPermitted" if refused[0][0] == SECRET else NO_MAPPING
        return ResolvedSource(reason=reason, message="; ".join(text for _, text in refused)), dialect
    if denied:
        return ResolvedSource(reason="SecretDenied", message=denied), dialect
    kind = dialect.kind
    if secret is None or kind is None:
        return ResolvedSource(
            reason="SecretNotFound", message=f"{_place(secret_place)} does not exist"
        ), dialect
    in_secret = source_in(secret, kind)
    if isinstance(in_secret, ResolvedSource):
        return in_secret, dialect
    place = SecretSource(SECRET_SOURCES[kind], *secret_place)
    dialect = Dialect(dialect.spec, dialect.before, secret=place)
    if mapping_place is not None and shared is None:
        return ResolvedSource(reason=NO_MAPPING, message="Resource mapping not found"), dialect
    dialect = _with_mapping(dialect, shared)
    return _with_readiness(cluster, options, place, in_secret), dialect


def _get(cluster: Cluster, kind: Kind, place: tuple[str, str]) -> tuple[Object | None, str]:
    """An object, and why it cannot be read."""
    namespace, name = place
    try:
        return cluster.get(kind, name, namespace), ""
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        return None, str(error)


def _not_granted(
    cluster: Cluster,
    options: Options,
    own: str,
    uses: Iterable[tuple[Kind, tuple[str, str], Object | None]],
) -> Iterator[tuple[Kind, str]]:
    """What the import may not use, with the grant that is missing. It does not reveal what exists."""
    for kind, (namespace, name), found in uses:
        if options.namespaces and namespace not in options.namespaces:
            listed = ", ".join(options.namespaces)
            yield (
                kind,
                f"{kind.kind} {namespace}/{name} is outside the namespaces of this installation ({listed})",
            )
        elif not is_granted(cluster, options, kind, found, (own, namespace), V2V_IMPORT):
            yield kind, refusal(kind, name, (own, namespace))
        elif kind == SECRET and found is not None and not is_usable(found, namespace, options.namespace):
            yield kind, unusable_here(namespace, name)


class SourceInSecret(NamedTuple):
    """The source that a Secret describes."""

    source: Source
    credentials: Mapping[str, str]
    """Base64."""
    version: str
    """Differs after each change of the Secret."""


def source_in(secret: Object, kind: SourceKind) -> SourceInSecret | ResolvedSource:
    """The source that a Secret describes, or why it describes none."""
    metadata = secret["metadata"]
    where = _place((str(metadata.get("namespace", "")), str(metadata["name"])))
    if secret.get("type", "") not in TYPES:
        message = f"{where} has the type {secret['type']}; use one of the type Opaque"
        return ResolvedSource(reason="SecretInvalid", message=message)
    data = secret.get("data") or {}
    try:
        login = read(kind, data)
    except SecretError as error:
        return ResolvedSource(reason="SecretInvalid", message=str(error))
    named = Metadata.model_validate(
        {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata}
    )
    source = source_from(kind, named, login)
    if reasons := tuple(source_reasons(source)):
        words = texts.message(reasons).replace("spec.endpoint", f"apiUrl in the key {KEYS[kind]}")
        return ResolvedSource(reason="SecretInvalid", message=words)
    version = f"{metadata.get('uid', '')}/{metadata.get('resourceVersion', '')}"
    return SourceInSecret(source, login.credentials, version)


def _with_mapping(dialect: Dialect, shared: Object | None) -> Dialect:
    """The dialect with the rows of its ResourceMapping, and what is wrong with all rows."""
    rows: ResourceMappingSpec | None = None
    fault: tuple[Refusal, ...] = ()
    if shared is not None:
        try:
            rows = ResourceMappingSpec.model_validate(
                dict(mapping(shared.get("spec"))), by_alias=True, by_name=False
            )
        except ValidationError as error:
            fault = (Refusal(INCOMPLETE, f"the resource mapping: spec.{first_error(error)}"),)
    wrong = fault or tuple(mapping_refusals(dialect.spec, rows))
    return Dialect(dialect.spec, dialect.before, rows, wrong, dialect.secret)


def _with_readiness(
    cluster: Cluster, options: Options, place: SecretSource, found: SourceInSecret
) -> ResolvedSource:
    """The source if its last check with this version of the Secret has succeeded; else why not."""
    status = v2v_state.read_source(cluster, options.namespace, *place)
    source = found.source
    if not status.status or status.verification.credentials != found.version:
        message = f"{_place(place[1:])} is checked first"
        return ResolvedSource(
            source=source, status=status, reason=NOT_CHECKED_YET, message=message, is_due=True
        )
    if status.status != READY:
        message = status.message.replace(TRY_NOW, "To try now, change the Secret, such as a label of it")
        return ResolvedSource(source=source, status=status, reason=SOURCE_NOT_READY, message=message)
    return ResolvedSource(source=source, status=status, credentials=found.credentials)


def _place(place: tuple[str, str]) -> str:
    return f"Secret {place[0]}/{place[1]}"


# --- other imports


def as_ours(cluster: Cluster, options: Options) -> Iterator[Object]:
    """All imports of this dialect in the form of our own API: spec translated, status of the engine.

    Raises:
        StepError: where the API does not answer.
    """
    if not options.v2v.enabled:
        return
    statuses = v2v_state.read_imports(cluster, options.namespace)
    for raw in (raw for space in options.namespaces or ("",) for raw in _each(cluster, space)):
        spec, _ = parse(raw)
        known = statuses.get(names.label_value(str(raw["metadata"]["uid"])))
        status = known if known is not None else foreign_status(V2vStatus.read(raw.get("status")))
        try:
            ours = translate(raw["metadata"], spec, options.v2v.on_failure).spec
        except ValidationError:
            continue
        yield {
            "apiVersion": V2V_API_VERSION,
            "metadata": raw["metadata"],
            "spec": ours.model_dump(by_alias=True, mode="json"),
            "status": status.to_document(),
        }


def source_of_other(
    cluster: Cluster, options: Options, source: tuple[str, str, str], own: str
) -> Source | None:
    """The source of another import, in namespace `own`; None if it has none, or may not use it.

    `source` are its kind in lower case, and the namespace and the name of its Secret.

    Raises:
        StepError: where the API does not answer.
    """
    kind = next((kind for kind in SECRET_SOURCES if kind.lower() == source[0]), None)
    secret = _get(cluster, SECRET, source[1:])[0] if kind is not None else None
    if (
        kind is None
        or secret is None
        or list(_not_granted(cluster, options, own, [(SECRET, source[1:], secret)]))
    ):
        return None
    found = source_in(secret, kind)
    return found.source if isinstance(found, SourceInSecret) else None


def _each(cluster: Cluster, namespace: str) -> Iterator[Object]:
    try:
        yield from each(cluster, V2V_IMPORT, namespace)
    except StepError as error:
        if error.code not in (Exit.NOT_FOUND, Exit.DENIED):  # the chart may leave the CRDs out
            raise
