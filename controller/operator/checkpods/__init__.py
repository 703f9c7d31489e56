"""Pods that look at sources for the controller, which itself reads no byte of a source's answer."""
