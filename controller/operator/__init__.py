"""The controller in a cluster: a thin shell of kopf over observe → decide → act.

`facts` reads everything an import's next step depends on, `decide` computes it (pure), `act` does it, and
`reconcile` is the three in a row. `handlers` and `work` say when; no event has to have been seen.
"""
