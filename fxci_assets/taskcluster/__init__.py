"""What Taskcluster's messages mean: plain functions on plain data. No Dagster, AMQP or storage."""
