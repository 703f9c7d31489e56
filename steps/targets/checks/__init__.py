"""What a cluster must have for an import, in addition to what its API server and webhooks check in a dry run.

`facts` are plain data, `reader` reads them, `rules` are pure and judge them. `admit`, `vmferry plan` and
`vmferry run` use the same rules. `catalogue` lists every check, also the dry runs, for
docs/reference/checks.md.
"""
