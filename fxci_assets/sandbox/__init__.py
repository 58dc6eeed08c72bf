"""A simulated Firefox-CI, so that everything can be run, shown and measured without the real one.

Here belong only what every simulated source shares: the notice and the error. The world is
`firefox_ci`, its inhabitants' kinds are `catalogue`. What it says on pulse is `messages`, and
`source` and `publish` bring that to a drain: directly, or through a broker. Which workers lived on
a day is `fleet`; how long Cloud Monitoring says that they were up, `uptime`; what the clouds bill
for them, `billing`.
"""

from __future__ import annotations

SIMULATED_NOTICE = (
    "This data is simulated: no task, worker, user or cost in it ever existed at Mozilla."
)
"""What a shell prints where it shows what comes from here."""


class SimulatorError(Exception):
    """The simulator was asked for something that it must not do; the text is one line."""
