"""Firefox-CI's data platform: what a push costs, how long tasks queue, how much time is idle.

`tables` is the contract, `taskcluster` what a message means, `freshness` when a day is rebuilt:
none of these knows an outside system. `archive` and `resources` do (durable files; pulse and the
warehouse, with `dialect` for its SQL), and `sandbox` simulates one. `drain`, `builders` and
`pipeline` bring them together; `quality` asks whether all is well. Around that are two shells:
Dagster's (`definitions`, `assets`, `checks`, `jobs`, `schedules`, `sensors`) and the command
line's (`cli`).
"""
