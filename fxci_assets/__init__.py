"""Firefox-CI's data platform: what a push costs, how long tasks queue, how much time is idle.

The packages, from the inside out: `taskcluster` (what a message means; plain functions),
`archive` (durable files and what lies in them), `drain` and `freshness` (how messages become
files, and when a day is rebuilt), `pipeline` (both, as the command line and Dagster share them),
`resources` (one outside system each), and the Dagster shell around them (`definitions`).
"""
