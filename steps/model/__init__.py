"""The documents and rules that steps, workflows and controller share. Pure."""
