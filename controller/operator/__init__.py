"""The controller in a cluster: observe → decide → act.

`observe` reads everything that an import's next step depends on, `decide` computes it (pure), `act` does it,
and `reconcile` runs the three in a row. `watch` and `workqueue` decide when; a missed event does no harm.
"""
