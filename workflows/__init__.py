"""What an import is, as pure functions: resources to plan, plan to workflow, workflow to status."""
