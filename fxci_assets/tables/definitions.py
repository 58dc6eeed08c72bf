"""The table of task definitions: what its creator asked of each task. Nothing about how it is
filled.

The names are those of Taskcluster's API, in its spelling, because notebooks read both.
"""

from __future__ import annotations

from fxci_assets.tables.pulse import SLUGID_PATTERN
from fxci_assets.tables.spec import Counted, Rule, Table, repeated, required

TASK_DEFINITIONS = Table(
    name="task_definitions_v1",
    view="task_definitions",
    title="Task definitions",
    description=(
        "One row for each task that was defined, on the UTC day on which it was created, as the "
        "queue told it when it was first asked: `priority` may have been changed since. A task "
        "that was defined need not have run; join with `task_runs` on `taskId = task_id`."
    ),
    columns=(
        required("taskId", "STRING", "The task.", pattern=SLUGID_PATTERN),
        required("submission_date", "DATE", "UTC day of `created`; the partition."),
        required("created", "TIMESTAMP", "When the task was created."),
        required("deadline", "TIMESTAMP", "By when it must be resolved; at most 5 days later."),
        required("expires", "TIMESTAMP", "When the queue forgets it."),
        repeated("dependencies", "STRING", "The tasks that it waits for."),
        repeated("routes", "STRING", "Routes under which its messages are sent as well."),
        repeated("scopes", "STRING", "What it may do while it runs."),
        required("extra", "JSON", "What its creator noted for others, such as Treeherder."),
        required("metadata", "JSON", "Its name, description, owner and source."),
        required("payload", "JSON", "What the worker is to do, in the worker's own terms."),
        required("tags", "JSON", "All its tags, as its creator spelled them."),
        required(
            "priority",
            "STRING",
            "Its priority when it was fetched.",
            allowed=("highest", "very-high", "high", "medium", "low", "very-low", "lowest"),
        ),
        required("projectId", "STRING", "The project it counts for; none where it has none."),
        required("provisionerId", "STRING", "First half of `taskQueueId`."),
        required(
            "requires",
            "STRING",
            "Whether its dependencies must have been completed, or only resolved.",
            allowed=("all-completed", "all-resolved"),
        ),
        required("schedulerId", "STRING", "What created the task, such as gecko-level-3."),
        required("taskGroupId", "STRING", "The push (or other group) the task belongs to."),
        required(
            "taskQueueId",
            "STRING",
            "The worker pool that is to run it, as provisioner/worker-type.",
            pattern="^[^/]+/[^/]+$",
        ),
        required("workerType", "STRING", "Second half of `taskQueueId`."),
        required(
            "retries",
            "INTEGER",
            "How often it is run again when the machine was at fault.",
            minimum=0,
        ),
    ),
    key=("taskId",),
    partition_column="submission_date",
    clustering=("taskId",),
    group="pulse",
    kinds=frozenset({"taskcluster", "table"}),
    rules=(
        Rule(
            "day_of_creation",
            "DATE(created) = submission_date",
            "A task lies in the partition of the day on which it was created.",
        ),
        Rule(
            "times_are_in_order",
            "created <= deadline AND deadline <= expires",
            "A task is created before its deadline, and expires after it.",
        ),
    ),
    counted=(
        Counted(
            "unusable_definitions",
            "Definitions that are not what the queue documents; they are in quarantine.",
        ),
        Counted(
            "definitions_too_large",
            "Definitions that are too large or too deep for a row, or have a number that is; they "
            "are in quarantine.",
        ),
        Counted(
            "conflicting_definitions",
            "Tasks whose definition was fetched twice and differs in more than its priority.",
        ),
    ),
)
