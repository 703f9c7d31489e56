"""check: prove that the guest of the new VM has booted; if it does not boot, give it SATA disks once.

Runs after `start`, if `spec.bootCheck` asks for it. Nothing is installed in the guest: what it reads, writes,
sends and says on its console is the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.model.booting import BOOTED, BootResult, Verdict, concerns_of
from steps.model.contract import Exit, StepError
from steps.model.mapping import Shape, shape
from steps.model.plan import Plan, TargetKind
from steps.runtime.program import Arguments, Context, log, run

EPILOG: Final = """\
examples:
  python -m steps.check --workflow vmi-web-0a1b2c3d-g1
  KUBECONFIG=cluster.yaml python -m steps.check --request run/.vmferry/request --into run

results: booted.json among the outputs; the screenshot and the console in ConfigMap RUN-boot, and without a
Workflow in the folder boot-check of --into
"""
NAMESPACES: Final = {TargetKind.HARVESTER: "harvester-system", TargetKind.KUBEVIRT: "kubevirt"}
"""Where KubeVirt runs, if the plan does not say it."""


def arguments() -> Arguments:
    parser = Arguments("check", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--workflow", metavar="NAME", default="", help="the Workflow of this step; empty outside of a cluster"
    )
    return parser


def body(context: Context) -> None:
    plan = context.plan()
    built = shape(plan, context.machine())
    result = check(context, plan, built)
    result.save(context.outputs / BOOTED)
    for concern in concerns_of(result):
        log.warning(str(concern))
    if result.verdict is Verdict.STUCK:
        raise not_booted(built, result)


def check(context: Context, plan: Plan, built: Shape) -> BootResult:
    """Check the VM of the plan."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - as in the other steps that use a cluster
    from steps.targets import in_cluster  # noqa: PLC0415
    from steps.targets.cluster.boot.check import Aids  # noqa: PLC0415
    from steps.targets.cluster.boot.counters import PodCounters, ProxiedCounters  # noqa: PLC0415
    from steps.targets.cluster.boot.kept import ConfigMapKeeper, FolderKeeper  # noqa: PLC0415

    if plan.boot_check is None:
        raise StepError(Exit.INVALID, "the import asks for no boot check", remedy="set spec.bootCheck")
    cluster = kubeapi.connect(context.stop)
    namespace = plan.boot_check.kubevirt_namespace or NAMESPACES.get(plan.target.kind, "kubevirt")
    aids = (
        Aids(PodCounters(namespace), ConfigMapKeeper(cluster, plan, kubeapi.own_namespace()))
        if context.arguments.workflow
        else Aids(ProxiedCounters(cluster, namespace), FolderKeeper(context.into))
    )
    target = in_cluster(plan, cluster, context.stop, volumes=context.volumes())
    return target.check(built, aids)


def not_booted(built: Shape, result: BootResult) -> StepError:
    """The error (UNSUPPORTED) for a guest that does not boot: its VM is stopped."""
    seen = f"; console: {result.evidence.console}" if result.evidence.console else ""
    kept = f"see the screenshot and the console in {result.kept_in}; " if result.kept_in else ""
    return StepError(
        Exit.UNSUPPORTED,
        f"the guest of VM {built.namespace}/{built.name} does not boot",
        f"{result.message}; the VM is stopped{seen}",
        f"{kept}correct the VM or the guest, then retry: it is started and checked again",
    )


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
