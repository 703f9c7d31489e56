"""Starts the OpenStack services on this host: `python -m tests.real.openstack.stack up|down|status`.

Needs only the standard library; the services have their own virtual environment.
"""
