"""From a Workflow's status to the status of the import."""
