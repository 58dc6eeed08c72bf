"""The tables that are built from Taskcluster's messages, and nothing about how."""

from __future__ import annotations

from fxci_assets.tables.spec import Column, Counted, Rule, Table, nullable, required

SLUGID_PATTERN = "^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$"
"""A Taskcluster identifier: a version 4 UUID in URL-safe base64 (the queue's published schema)."""

TASK_RUNS = Table(
    name="task_runs_v1",
    view="task_runs",
    title="Task runs",
    description=(
        "One row for each run of a task that was resolved, on the UTC day on which it was. A task "
        "that is retried has several runs; queue time is `started - scheduled`, run time is "
        "`resolved - started`."
    ),
    columns=(
        required("task_id", "STRING", "The task this run belongs to.", pattern=SLUGID_PATTERN),
        required("run_id", "INTEGER", "Number of the run within its task, from 0.", minimum=0),
        nullable(
            "reason_created",
            "STRING",
            "Why the queue made this run: scheduled, retry, task-retry, rerun or exception.",
        ),
        nullable(
            "reason_resolved",
            "STRING",
            "Why the run ended: completed, failed, deadline-exceeded, canceled, claim-expired, "
            "worker-shutdown, intermittent-task and others.",
        ),
        required("resolved", "TIMESTAMP", "When the run ended."),
        required("scheduled", "TIMESTAMP", "When the run became ready for a worker to claim."),
        nullable("started", "TIMESTAMP", "When a worker claimed the run; NULL if none ever did."),
        required(
            "state",
            "STRING",
            "How the run ended.",
            allowed=("completed", "failed", "exception"),
        ),
        required("submission_date", "DATE", "UTC day of `resolved`; the partition."),
        nullable(
            "worker_group",
            "STRING",
            "Where the worker is: a GCP zone, an Azure location, or a data centre.",
        ),
        nullable(
            "worker_id",
            "STRING",
            "The worker: a GCP instance id, an Azure machine name, or a hardware host.",
        ),
    ),
    key=("task_id", "run_id"),
    partition_column="submission_date",
    clustering=("task_id", "run_id"),
    group="pulse",
    kinds=frozenset({"pulse", "table"}),
    rules=(
        Rule(
            "day_of_resolution",
            "DATE(resolved) = submission_date",
            "A run lies in the partition of the day on which it was resolved.",
        ),
    ),
    counted=(
        Counted(
            "conflicting_runs",
            "Runs that messages tell differently, although a resolved run never changes.",
        ),
    ),
)

TAGS: tuple[Column, ...] = (
    nullable("created_for_user", "STRING", "Who the task runs for: on try, the pusher."),
    nullable("kind", "STRING", "The task's kind: build, test, source-test and others."),
    nullable("label", "STRING", "The task's name within its push."),
    nullable("os", "STRING", "Operating system it runs on."),
    nullable("owned_by", "STRING", "Who is responsible for the task."),
    nullable("project", "STRING", "The tree: autoland, try, mozilla-central and others."),
    nullable("trust_domain", "STRING", "gecko, comm, mobile and others."),
    nullable("worker_implementation", "STRING", "generic-worker or docker-worker."),
    nullable("test_suite", "STRING", "The test suite, of test tasks."),
    nullable("test_platform", "STRING", "The platform and build type under test."),
    nullable("test_variant", "STRING", "The variant of the test suite, if any."),
)
"""The tags of a task that `tasks_v2` keeps."""

TASKS = Table(
    name="tasks_v2",
    view="tasks",
    title="Tasks",
    description=(
        "One row for each task, on the UTC day on which its first run (run 0) was resolved. Join "
        "with `task_runs` on task_id; a push is a task_group_id, its tree is `tags.project`, and "
        "the pusher is `tags.created_for_user`."
    ),
    columns=(
        required("scheduler_id", "STRING", "What created the task, such as gecko-level-3."),
        required("submission_date", "DATE", "UTC day on which run 0 was resolved; the partition."),
        required("task_group_id", "STRING", "The push (or other group) the task belongs to."),
        required("task_id", "STRING", "The task.", pattern=SLUGID_PATTERN),
        required(
            "task_queue_id",
            "STRING",
            "The worker pool that runs the task, as provisioner/worker-type.",
            pattern="^[^/]+/[^/]+$",
        ),
        required("tags", "RECORD", "What the task is, as its creator labelled it.", fields=TAGS),
    ),
    key=("task_id",),
    partition_column="submission_date",
    clustering=("task_id",),
    group="pulse",
    kinds=frozenset({"pulse", "table"}),
    counted=(
        Counted("conflicting_tasks", "Tasks that messages tell differently."),
        Counted(
            "tasks_without_tags",
            "Tasks of which no message has tags, such as those of a cancelled group.",
        ),
    ),
)
