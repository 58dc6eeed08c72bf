"""What Taskcluster's messages mean, without Dagster, AMQP or any outside system.

What lies on disk here for a moment (`staging`) is memory by other means.
"""
