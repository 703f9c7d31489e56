"""admit: ask the target whether it would accept the VM and its disks, before the VM is shut down.

The target judges the objects by dry runs and keeps none of them. The step reads `machine.json` and has no
credentials of the source. When the target refuses, nothing was touched: correct the request or the cluster,
and run the import again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.admission import Verdict
from steps.mapping import shape
from steps.program import Arguments, Context, log, run
from steps.targets import connect

ADMISSION: Final = "admission.json"
EPILOG: Final = """\
example:
  python -m steps.admit

result among the outputs: admission.json (what passed, what the target changes, what could not be checked)
"""


def arguments() -> Arguments:
    return Arguments("admit", __doc__ or "", epilog=EPILOG)


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    target = connect(plan, context.into, context.stop, machine=machine)
    admission = target.admit(shape(plan, machine))
    for finding in admission.findings:
        say = log.info if finding.verdict is Verdict.PASSED else log.warning
        say(finding.message or "accepted", check=finding.check, verdict=str(finding.verdict))
    admission.save(context.outputs / ADMISSION)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
