"""Starts the OpenStack services on this machine: `python -m tests.openstack.stack up|down|status`.

Needs the standard library only; the services have an environment of their own.
"""
