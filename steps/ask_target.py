"""ask_target: ask the target about a VM for a dry run. It writes the answer to the log, and nothing else.

Not a stage of an import: after `dryrun` the controller runs it in a pod of its own with the identity of
`admit`, and reads the log. The checks are those of `admit`, which are dry runs; nothing is created. The pod
has no credentials of the source.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from steps.admit import refuse_excess
from steps.model.contract import StepError, is_retryable
from steps.model.log_text import to_lines
from steps.model.machine import Machine
from steps.model.mapping import disk_way, shape
from steps.model.plan import DiskWay, Plan
from steps.model.target_answer import TargetAnswer
from steps.model.vm_fields import check_request
from steps.runtime.cluster import Cluster
from steps.runtime.program import Arguments, Context, run
from steps.runtime.stop import Stop
from steps.targets import in_cluster


def arguments() -> Arguments:
    return Arguments("ask_target", __doc__ or "", epilog="example:\n  python -m steps.ask_target\n")


def body(context: Context) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - as in the other steps that use a cluster

    cluster, release = kubeapi.connect(context.stop), kubeapi.own_namespace()
    answer = answer_of(context.plan(), context.machine(), cluster, context.stop, release)
    for line in to_lines(answer.to_output()):
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def answer_of(plan: Plan, machine: Machine, cluster: Cluster, stop: Stop, release: str) -> TargetAnswer:
    """The answer of the target; `release` is the namespace of scratch."""
    from steps.targets.asking import ask  # noqa: PLC0415 - only an image for a cluster has these modules
    from steps.targets.cluster.run_objects import RunObjects  # noqa: PLC0415

    try:
        check_request(plan)
        refuse_excess(plan, machine)
        target_shape = shape(plan, machine)
        disks = [disk for disk in machine.disks if disk_way(disk, plan.target) is DiskWay.PULL]
        objects = RunObjects(plan, cluster, release)
        target = in_cluster(plan, cluster, stop, machine=machine, scratch=objects.scratch_needs(disks))
        return ask(target, target_shape, lambda: objects.would_exceed(disks))
    except StepError as error:
        return TargetAnswer.unknown(str(error)) if is_retryable(error.code) else TargetAnswer.refusal(error)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
