"""Plots of the tables of costs, as Dagster's UI shows them beside a materialisation.

Here belong what is drawn and how; the numbers are queries like anybody's.
"""

import base64
import datetime as dt
import io
from collections.abc import Mapping

import dagster as dg
import pandas as pd

from fxci_assets.pipeline import Pipeline
from fxci_assets.tables import TASK_RUN_COSTS, WORKER_COSTS, WORKER_UTILIZATION, Table

DAYS = 35
"""How many days a plot shows."""

_OF: Mapping[str, tuple[str, str]] = {
    WORKER_COSTS.name: (
        "Cost of workers by day and cloud",
        "SELECT usage_start_date AS day, cloud_provider AS part, SUM(total_cost) AS dollars "
        "FROM fxci.worker_costs WHERE usage_start_date BETWEEN @first AND @last "
        "GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    TASK_RUN_COSTS.name: (
        "Cost of task runs by day and cloud",
        "SELECT submission_date AS day, cloud_provider AS part, SUM(run_cost) AS dollars "
        "FROM fxci.task_run_costs WHERE submission_date BETWEEN @first AND @last "
        "GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    WORKER_UTILIZATION.name: (
        "Cost of workers by day and status",
        "SELECT usage_date AS day, IF(status = 'used', 'used, busy', status) AS part, "
        "SUM(IF(status = 'used', busy_cost, billed_cost)) AS dollars "
        "FROM fxci.worker_utilization WHERE usage_date BETWEEN @first AND @last "
        "AND status != 'unbilled' GROUP BY 1, 2 "
        "UNION ALL "
        "SELECT usage_date AS day, 'used, idle' AS part, SUM(idle_cost) AS dollars "
        "FROM fxci.worker_utilization WHERE usage_date BETWEEN @first AND @last "
        "AND status = 'used' GROUP BY 1, 2 ORDER BY 1, 2",
    ),
}
"""By table: what is drawn, and the query for it: day, part and dollars."""


def plot_of(table: Table, pipeline: Pipeline, last: dt.date) -> dict[str, dg.MetadataValue]:
    """The plot of a table up to a day, as metadata; nothing for a table without one."""
    if table.name not in _OF:
        return {}
    title, sql = _OF[table.name]
    first = last - dt.timedelta(days=DAYS - 1)
    rows = pipeline.warehouse.query(sql, {"first": first, "last": last})
    if not rows:
        return {}
    image = base64.b64encode(stacked_bars(rows.to_pandas(), title)).decode()
    return {"plot": dg.MetadataValue.md(f"![{title}](data:image/png;base64,{image})")}


def stacked_bars(rows: pd.DataFrame, title: str) -> bytes:
    """A PNG of dollars by day, one colour for each part; of rows with day, part and dollars."""
    from matplotlib.figure import Figure

    by_day = rows.pivot_table(index="day", columns="part", values="dollars", aggfunc="sum")
    by_day = by_day.fillna(0.0)
    # Not pyplot, which keeps every figure of the process.
    figure = Figure(figsize=(8, 4), dpi=90, layout="constrained")
    axes = figure.subplots()
    labels = [f"{day:%d %b}" for day in by_day.index]
    top = pd.Series(0.0, index=by_day.index)
    below = top.copy()  # a refund can be more than a day's cost
    for part in by_day.columns:
        dollars = by_day[part]
        bottom = top.where(dollars >= 0, below)
        axes.bar(labels, dollars, bottom=bottom, label=str(part), width=0.8)
        top = top + dollars.clip(lower=0)
        below = below + dollars.clip(upper=0)
    axes.set_title(title)
    axes.set_ylabel("US dollars")
    axes.set_xticks(range(0, len(labels), max(1, len(labels) // 10)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return sink.getvalue()
