"""What a tenant attempts with the token of an account that has the role `edit` in its own namespace.

The abuses A1 to A18 were written down, with the expected result, by a person who had not read the findings
F1 to F25. `denied` means that somebody refuses the attempt. `harmless` means that it is possible and that
nothing happens to others.

| id | what the tenant tries | expected |
|---|---|---|
| A1 | write a status that names another tenant's Workflow: at creation, in an update, in the subresource | denied: the API server drops it, RBAC refuses the subresource |
| A2 | act as vmferry: impersonate its accounts, create their tokens, use an account of the same name | denied: RBAC |
| A3 | create the objects that another tenant's next run will use: in the release namespace, then the same names with the same labels in the own one | denied: RBAC; harmless: vmferry reads the release namespace only |
| A4 | a Workflow in the own namespace with the labels of another tenant's import | harmless: Workflows are watched in the release namespace only |
| A5 | keep a deleted import with a finalizer of one's own | harmless: vmferry removes its objects and its finalizer, and then writes nothing |
| A6 | remove vmferry's finalizer from a running import and delete it | harmless: the objects of the run go, those of others stay |
| A7 | owner references from an import to objects of vmferry and of another tenant | harmless: at most the tenant's import is collected |
| A8 | delete and create an import of the same name many times | harmless: each has a run of its own; those of the earlier ones go |
| A9 | a Secret with hostile content: our own file names, a path as a key, another type, 1 MiB | denied: only the keys of the provider are used; the rest makes the source not ready |
| A10 | imports and sources of more than 1 MiB each, many of them | harmless: the controller keeps its memory, and another tenant's import starts |
| A11 | hundreds of imports at once | harmless: another tenant's import starts in its turn |
| A12 | annotations that shout: huge gates, retries, a progress that the tenant changes again and again | harmless: bounded Events, at most one write of the controller for each of the tenant |
| A13 | a source with the credentials of somebody else: of another tenant, of a run, of a check, of Helm; with a consent that the tenant writes itself | denied: the controller does not use the Secret, and its answer does not show whether it exists |
| A14 | use a source that allows a namespace with a similar name; write the grant in the own namespace | denied: the controller does not use the source |
| A15 | expressions of Argo, Kubernetes and a shell in names that a person chooses | harmless: no text of the tenant is in the spec of the Workflow or in the command of a pod |
| A16 | change the address of a source after its check, while an import uses it | harmless: the run keeps the address of its request; the credentials do not go to another one |
| A17 | lock an account of another tenant with wrong passwords, a new one each time | denied: the log-ins for one account are bounded |
| A18 | learn of others: from messages about a contested VM, and from the metrics | harmless: no name of another tenant |
| A19 | fetch a disk that is served for another tenant: as a pod that calls itself an importer, and by an image with the address of the Service | denied: without the token of the run there is no answer but 404 |
| A20 | pods with our labels: a stage of vmferry in the own namespace | denied: NetworkPolicies select by namespace |
| A21 | VMs, claims, DataVolumes with the next names and our marks in the own namespace | denied: never adopted; the import chooses another name or fails |
| A22 | hold the limits of another tenant with a Workflow of one's own that names our semaphores | harmless: Argo runs no Workflow of the namespace |
| A23 | delete image, claim and VM while the steps work on them | harmless: the import fails or repairs itself, and leaves nothing |
"""
