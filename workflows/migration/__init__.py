"""What a MigrationPlan does: its VMs, their waves, and which imports start now. Pure.

The controller and `vmferry run` use the same code. They give the time and the state, and carry out what it
decides.

    rules     what is wrong with a plan
    vms       the VMs after a selection: names, waves, and what happens to those that come and go
    imports   the import of one VM, and what its status means for the plan
    windows   the times in which imports may start
    schedule  which imports start now, and what the plan waits for
    report    the status of the plan
"""
