"""Plug-ins of the OpenStack services that the tests run: ../../README.md says what they stand for."""
