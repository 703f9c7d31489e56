"""What every target in a Kubernetes cluster needs: a run's objects, serving, ownership, quotas, and the VM.

`steps.targets.harvester`, `steps.targets.kubevirt` and `steps.targets.landing` add how a disk gets there.
This package knows none of them.
"""
