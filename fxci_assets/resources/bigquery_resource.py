"""BigQuery as a resource of Dagster: dagster-gcp's, with the credentials of our settings.

`bigquery_warehouse` asks BigQuery through it in Dagster's runs, and so may any asset beside ours.
The command line does without: it does not import Dagster.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster_gcp import BigQueryResource
from google.cloud import bigquery

from fxci_assets.resources.bigquery_jobs import Clients


def bigquery_resource(project: str, clients: Clients) -> BigQueryResource:
    """A resource whose clients are these."""

    class BigQuery(BigQueryResource):
        """Its parent's `gcp_credentials` would be shown in the UI, and go into the environment of
        the process, where those of the bucket are looked for too
        (https://docs.dagster.io/integrations/libraries/gcp/bigquery/reference)."""

        @contextmanager
        def get_client(self) -> Iterator[bigquery.Client]:
            with clients() as client:
                yield client

        def get_object_to_set_on_execution_context(self) -> BigQueryResource:
            """What another resource finds in its context; the parent has a generator there."""
            return self

    return BigQuery(project=project)
