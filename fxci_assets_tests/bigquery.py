"""BigQuery as the tests meet it: their own server, another one that stands in for it, or Google's.

Here belongs which of these it is, and that nothing is left behind there. docs/bigquery.md says how
the tests are run against each.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from unittest import mock

from google.cloud import bigquery

from fxci_assets.resources.bigquery_jobs import Clients, Patience
from fxci_assets.resources.bigquery_warehouse import BigQueryWarehouse, plain_clients
from fxci_assets.tables import Table
from fxci_assets_tests.bigquery_server import BigQueryServer

REAL = "FXCI_TEST_BIGQUERY"
"""Names a scratch dataset, as project.dataset, that the environment's credentials may fill."""

EMULATOR = "BIGQUERY_EMULATOR_HOST"
"""Google's own variable: the URL of a server that the client goes to."""


@dataclass
class Place:
    """A dataset for one test. `server` is None where it is not our own, which can be told to go
    wrong and asked what it was asked."""

    clients: Clients
    project: str
    dataset: str
    server: BigQueryServer | None = None
    suffix: str = ""
    """Ends the names of tables in a dataset that others use too."""
    made: list[str] = field(default_factory=list)

    def warehouse(self, *_: Table, **options: object) -> BigQueryWarehouse:
        """It needs not be told its tables, as one of local files is."""
        patience = Patience(first_pause=0.01) if self.server else Patience()
        options = {"patience": patience, **options}
        return BigQueryWarehouse(
            self.clients,
            self.project,
            self.dataset,
            **options,  # type: ignore[arg-type]
        )

    def table(self, table: Table) -> Table:
        """The table under a name that is the test's own."""
        own = replace(table, name=table.name + self.suffix)
        self.made.append(own.name)
        return own

    def view(self, name: str) -> str:
        """The name of a view that is the test's own, as `dataset.view`."""
        self.made.append(name + self.suffix)
        return f"{self.dataset}.{name}{self.suffix}"

    @contextlib.contextmanager
    def client(self) -> Iterator[bigquery.Client]:
        with self.clients() as client:
            yield client

    def resource(self, name: str) -> bigquery.Table:
        """A table as BigQuery tells of it."""
        with self.client() as client:
            return client.get_table(f"{self.project}.{self.dataset}.{name}")


@contextlib.contextmanager
def place(server: BigQueryServer, environment: Mapping[str, str] = os.environ) -> Iterator[Place]:
    """Where the environment says, otherwise on our own server."""
    if REAL in environment:
        project, _, dataset = environment[REAL].partition(".")
        place = Place(
            plain_clients(project, None), project, dataset, suffix=f"_{secrets.token_hex(4)}"
        )
        try:
            yield place
        finally:
            with place.client() as client:
                for name in place.made:
                    client.delete_table(f"{project}.{dataset}.{name}", not_found_ok=True)
        return
    dataset = f"fxci_test_{secrets.token_hex(4)}"
    own = EMULATOR not in environment
    url = server.url if own else environment[EMULATOR]
    project = server.project if own else "test"
    with mock.patch.dict(os.environ, {EMULATOR: url}):
        place = Place(plain_clients(project, None), project, dataset, server if own else None)
        with place.client() as client:
            client.create_dataset(dataset)
            server.forget()
            try:
                yield place
            finally:
                server.forget()
                client.delete_dataset(dataset, delete_contents=True)
                client.close()  # type: ignore[no-untyped-call]
