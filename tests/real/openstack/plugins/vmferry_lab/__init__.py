"""Plug-ins of the OpenStack services for the tests: ../../README.md explains what they replace."""
