"""The Workflow and the WorkflowTemplates, written with Hera from the stage table."""
