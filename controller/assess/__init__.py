"""Judges a source before a migration: which VMs can be imported, why others cannot, and how long it takes.

readiness  what prevents the import of a VM    selection  which VMs, in which order
workload   bytes, rate, hours                  rates      a rate that was measured with an import
totals     sums of the VMs                     table      what a spreadsheet gets
report     the assessment as HTML, Markdown    texts      foreign text that is safe to show
"""
