"""What every target in a Kubernetes cluster needs: a run's objects, serving, ownership, quotas, and the VM.

`steps.targets.harvester` and `steps.targets.kubevirt` add how a disk gets there. This package knows neither.
"""
