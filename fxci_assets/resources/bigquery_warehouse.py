"""The warehouse in BigQuery: a job for each partition that is written, a job for each query.

Here belongs what is asked of BigQuery, in which order. What a spec makes of a table is
`bigquery_schema`; what is said in SQL, `bigquery_sql`; what is asked again, and what a refusal
means, `bigquery_jobs`. This imports Google's client, and with it, unless that is prevented, pandas
(`fxci_assets.memory`); so nothing imports it but the deployment that uses it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from fxci_assets.resources import bigquery_schema, json_rows, parquet_rows
from fxci_assets.resources.bigquery_jobs import (
    Api,
    BigQueryError,
    Clients,
    Patience,
    connected,
    job_url,
    labels_of,
)
from fxci_assets.resources.bigquery_sql import as_returned, as_rows_of, hash_of, query_parameters
from fxci_assets.resources.google_credentials import credentials
from fxci_assets.resources.warehouse import PartitionWrite, at_once
from fxci_assets.rows_hash import RowsHash
from fxci_assets.settings import variable
from fxci_assets.tables import Table, type_name

if TYPE_CHECKING:
    from fxci_assets.dialect import Value

_CREDENTIALS = variable("bigquery", "credentials")

_TO_QUERY = ("bigquery.jobs.create", "bigquery.tables.getData")
"""The permissions that a query needs."""

_APPLICATION = {"application": "fxci-etl"}
"""The label that all jobs carry."""


def plain_clients(project: str, encoded: str | None) -> Clients:
    """One client for all operations, made at the first: with the credentials in a setting, the
    base64 of a service account's key in JSON, or with the environment's.

    Raises CredentialsError when it is used.
    """

    @functools.cache
    def client() -> bigquery.Client:
        if os.environ.get("BIGQUERY_EMULATOR_HOST"):
            # The client goes where that says, maybe in clear text: not with anybody's credentials.
            anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
            return bigquery.Client(project, anonymous)
        return bigquery.Client(project, credentials(encoded, _CREDENTIALS))

    return lambda: contextlib.nullcontext(client())


@dataclass(frozen=True, slots=True)
class _Deployed:
    """A table that is there."""

    schema: Sequence[bigquery.SchemaField]
    """What its rows are loaded with."""
    location: str | None


class BigQueryWarehouse:
    """Tables in a dataset of BigQuery, partitioned by day.

    A partition is replaced by a load job or a query job whose destination it is: both are atomic,
    and load jobs are free (https://cloud.google.com/bigquery/docs/managing-partitioned-table-data).
    A table is compared with its spec before a process first writes to it.
    """

    def __init__(
        self,
        clients: Clients,
        project: str,
        dataset: str,
        *,
        names: Mapping[str, str] | None = None,
        may_create: bool = True,
        patience: Patience | None = None,
    ) -> None:
        """`clients` is `BigQueryResource.get_client` of dagster-gcp, or `plain_clients`. `names`
        are what tables are called, as `project.dataset.table`, where that is not what their specs
        call them.
        `may_create` is whether tables are ours: then they are created, and columns that a spec
        has gained are added. Where others deploy them, both are errors that say what is missing.
        """
        self._clients = clients
        self._project = project
        self._dataset = dataset
        self._names = dict(names or {})
        self._may_create = may_create
        self._patience = patience or Patience()
        self._deployed: dict[str, _Deployed] = {}

    @property
    def target(self) -> str:
        return f"{self._project}.{self._dataset}"

    def name(self, table: Table) -> str:
        return self._names.get(table.name, f"{self.target}.{table.name}")

    def write_partition(
        self,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        *,
        labels: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] = at_once,
    ) -> PartitionWrite:
        with tempfile.TemporaryDirectory(prefix="fxci-") as folder:
            path = Path(folder) / "rows"
            hashed = RowsHash()
            config = bigquery.LoadJobConfig(
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                # A table that has just been dropped is not made again without its partitions.
                create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
                labels=_labels(table, day, labels),
            )
            if json_rows.has_json(table.columns):
                json_rows.write(path, table, day, hashed.over(rows))
                config.source_format = bigquery.SourceFormat.NEWLINE_DELIMITED_JSON
            else:
                parquet_rows.write(path, table, day, hashed.over(rows), labels or {})
                config.source_format = bigquery.SourceFormat.PARQUET
                # Else a list is a record of records, as it is in Parquet.
                options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
                options.enable_list_inference = True
                config.parquet_options = options
            size = path.stat().st_size
            with self._api(f"{self.name(table)} of {day}") as api:
                deployed = self._ensure(api, table)
                # It replaces the table's schema, descriptions included.
                config.schema = deployed.schema
                with (
                    path.open("rb") as file,
                    api.explained("bigquery.jobs.create", "bigquery.tables.updateData"),
                ):
                    job = api.load(
                        file,
                        size,
                        self._partition(table, day),
                        config,
                        name=_job_name(table, day, labels or {}),
                        location=deployed.location,
                        before_each=before_commit,
                    )
        return PartitionWrite(self._url(table), size, hashed.rows, hashed.hexdigest(), _told(job))

    def write_query(
        self,
        table: Table,
        day: dt.date,
        sql: str,
        parameters: Mapping[str, Value],
        *,
        labels: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] = at_once,
    ) -> PartitionWrite:
        with self._api(f"{self.name(table)} of {day}") as api:
            deployed = self._ensure(api, table)
            config = bigquery.QueryJobConfig(
                destination=self._partition(table, day),
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
                query_parameters=query_parameters(parameters),
                labels=_labels(table, day, labels),
            )
            as_rows = as_rows_of(table, sql, self._columns(api, sql, parameters))
            with api.explained(
                "bigquery.jobs.create", "bigquery.tables.getData", "bigquery.tables.updateData"
            ):
                job = api.query(
                    as_rows, config, location=deployed.location, before_each=before_commit
                )
            # A query's result has no descriptions, and its schema may have become the table's.
            self._ensure(api, table, anew=True)
            config = bigquery.QueryJobConfig(
                query_parameters=query_parameters({"day": day}),
                labels=_labels(table, day, labels),
            )
            with api.explained("bigquery.tables.getData"):
                hashing = api.query(hash_of(table, self.name(table)), config)
                [(rows, total)] = api.rows(hashing)
        return PartitionWrite(
            self._url(table),
            # What a query over all columns of a partition processes is their size.
            hashing.total_bytes_processed or 0,
            rows,
            f"{rows}-{total or 0}",
            _told(job, hashing),
        )

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        maximum_bytes_billed: int | None = None,
    ) -> pa.Table:
        """Raises QueryError for a query that BigQuery does not accept."""
        config = bigquery.QueryJobConfig(
            query_parameters=query_parameters(parameters or {}), labels=dict(_APPLICATION)
        )
        if maximum_bytes_billed is not None:
            # The client would send None as a text.
            config.maximum_bytes_billed = maximum_bytes_billed
        with (
            self._api("a query") as api,
            api.explained(*_TO_QUERY, query=True),
        ):
            rows = api.rows(api.query(sql, config))
            return as_returned(rows.to_arrow(create_bqstorage_client=False))

    def stream(self, sql: str, parameters: Mapping[str, Value]) -> Iterator[pa.Table]:
        config = bigquery.QueryJobConfig(
            query_parameters=query_parameters(parameters), labels=dict(_APPLICATION)
        )
        with (
            self._api("a query") as api,
            api.explained(*_TO_QUERY, query=True),
        ):
            # Without a client for the Storage API, these are the pages of the REST API.
            for batch in api.rows(api.query(sql, config)).to_arrow_iterable():
                yield as_returned(pa.Table.from_batches([batch]))

    def dry_run(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        """The bytes that a query would process, at no cost. Raises QueryError as it would."""
        with self._api("a dry run") as api, api.explained(*_TO_QUERY, query=True):
            return self._dry_run(api, sql, parameters or {}).total_bytes_processed or 0

    def partitions(self, table: Table) -> Sequence[dt.date]:
        """Days whose partition is empty may be missing: BigQuery keeps no record of them."""
        seconds = self._patience.request_seconds
        with (
            self._api(self.name(table)) as api,
            api.explained(
                "bigquery.tables.get", "bigquery.tables.getData", "bigquery.datasets.get"
            ),
        ):
            try:
                # From the table's own summary, which is free; a query over INFORMATION_SCHEMA
                # is billed as one over 10 MB.
                ids = api.client.list_partitions(
                    self._reference(table), retry=api.retry, timeout=seconds
                )
            except NotFound:
                # No table has no partitions; that its dataset is not there is an error.
                dataset = bigquery.DatasetReference(self._project, self._dataset)
                api.client.get_dataset(dataset, retry=api.retry, timeout=seconds)
                return []
        # Besides days there are __NULL__ and __UNPARTITIONED__.
        return sorted(dt.date.fromisoformat(id) for id in ids if re.fullmatch(r"\d{8}", id))

    def exists(self, table: Table) -> bool:
        with self._api(self.name(table)) as api:
            return self._found(api, self._reference(table)) is not None

    def has_unsettled_rows(self, table: Table) -> bool:
        """Rows that were streamed, as the old job did, are in a buffer for up to 90 minutes
        (https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#dataavailability)."""
        with self._api(self.name(table)) as api:
            found = self._found(api, self._reference(table))
        return found is not None and found.streaming_buffer is not None

    def ensure_tables(self, tables: Sequence[Table]) -> None:
        wrong: list[str] = []
        for table in tables:
            try:
                with self._api(self.name(table)) as api:
                    self._ensure(api, table, anew=True)
            except BigQueryError as error:
                wrong.append(str(error))
        if wrong:
            raise BigQueryError("; ".join(wrong))

    def ensure_views(self, views: Mapping[str, str]) -> None:
        """Makes these queries the views' of these names, `dataset.view`."""
        for name, sql in views.items():
            reference = bigquery.TableReference.from_string(f"{self._project}.{name}")
            with self._api(f"view {self._project}.{name}") as api:
                while not self._ensure_view(api, reference, sql):
                    pass

    def _ensure_view(self, api: Api, reference: bigquery.TableReference, sql: str) -> bool:
        """Whether the view is as it should be; False where it was changed meanwhile."""
        found = self._found(api, reference)
        if found is None:
            found = bigquery.Table(reference)
            found.view_query = sql
            found = self._create(api, found)
        if found.table_type != "VIEW":
            raise BigQueryError(f"{api.where}: it is a {found.table_type}, not a view")
        if found.view_query == sql:
            return True
        found.view_query = sql
        return self._update(api, found, ["view_query"]) is not None

    def _api(self, where: str) -> AbstractContextManager[Api]:
        return connected(self._clients, where, self._patience)

    def _ensure(self, api: Api, table: Table, *, anew: bool = False) -> _Deployed:
        """The table as it is now that it is as its spec says."""
        known = self._deployed.get(table.name)
        if known is not None and not anew:
            return known
        found = self._found(api, self._reference(table))
        if found is None:
            if not self._may_create:
                raise BigQueryError(
                    f"{api.where}: the table is not there and has to be deployed; with "
                    f"{variable('bigquery', 'create_tables')} it would be created"
                )
            new = bigquery_schema.new_table(table, self._reference(table))
            found = self._create(api, new)
        comparison = bigquery_schema.compare(table, found)
        wrong = comparison.differences
        if not self._may_create:
            wrong += comparison.additions
        if wrong:
            raise BigQueryError(
                f"{api.where}: the table in BigQuery is not what its spec says: {'; '.join(wrong)}"
            )
        if self._may_create:
            changed = bigquery_schema.update(table, found, comparison.schema)
            if changed:
                updated = self._update(api, found, changed)
                if updated is None:
                    return self._ensure(api, table, anew=True)
                found = updated
        deployed = _Deployed(found.schema, found.location)
        self._deployed[table.name] = deployed
        return deployed

    def _found(self, api: Api, reference: bigquery.TableReference) -> bigquery.Table | None:
        with api.explained("bigquery.tables.get"):
            try:
                return api.client.get_table(
                    reference, retry=api.retry, timeout=self._patience.request_seconds
                )
            except NotFound:
                return None

    def _create(self, api: Api, table: bigquery.Table) -> bigquery.Table:
        with api.explained("bigquery.tables.create"):
            # Another process may be at it, or the answer to a first request was lost.
            return api.client.create_table(
                table,
                exists_ok=True,
                retry=api.retry,
                timeout=self._patience.request_seconds,
            )

    def _update(
        self, api: Api, table: bigquery.Table, fields: Sequence[str]
    ) -> bigquery.Table | None:
        """None where it was changed since it was read: by others, or by us, and the answer to a
        first request was lost."""
        with api.explained("bigquery.tables.update"):
            try:
                return api.client.update_table(
                    table, fields, retry=api.retry, timeout=self._patience.request_seconds
                )
            except PreconditionFailed:
                return None

    def _dry_run(self, api: Api, sql: str, parameters: Mapping[str, Value]) -> bigquery.QueryJob:
        config = bigquery.QueryJobConfig(
            dry_run=True,
            use_query_cache=False,
            query_parameters=query_parameters(parameters),
            labels=dict(_APPLICATION),
        )
        return api.query(sql, config)

    def _columns(self, api: Api, sql: str, parameters: Mapping[str, Value]) -> Mapping[str, str]:
        """The columns that a query would give, and their types."""
        with api.explained(*_TO_QUERY):
            schema = self._dry_run(api, sql, parameters).schema or ()
        return {field.name: type_name(field.field_type) for field in schema}

    def _reference(self, table: Table) -> bigquery.TableReference:
        return bigquery.TableReference.from_string(self.name(table))

    def _partition(self, table: Table, day: dt.date) -> bigquery.TableReference:
        return bigquery.TableReference.from_string(f"{self.name(table)}${day:%Y%m%d}")

    def _url(self, table: Table) -> str:
        """The table in Google's console."""
        return (
            f"https://console.cloud.google.com/bigquery?project={self._project}"
            f"&p={self._project}&d={self._dataset}&t={self._reference(table).table_id}&page=table"
        )


def _labels(table: Table, day: dt.date, labels: Mapping[str, str] | None) -> dict[str, str]:
    return labels_of(_APPLICATION, {"table": table.name, "day": day.isoformat()}, labels or {})


def _job_name(table: Table, day: dt.date, labels: Mapping[str, str]) -> str:
    """Names one write, and no other: an id of the rows alone would be that of an earlier load of
    the same rows, though others were loaded since."""
    run = [re.sub(r"[^\w-]", "_", labels["run"], flags=re.ASCII)] if "run" in labels else []
    return "-".join(["fxci", *run, table.name, f"{day:%Y%m%d}", uuid.uuid4().hex[:12]])


def _told(*jobs: bigquery.LoadJob | bigquery.QueryJob) -> dict[str, str | int]:
    """What the jobs of a write say of their cost, in sum, and where the first can be looked at."""
    told: dict[str, str | int] = {"job_url": job_url(jobs[0])}
    for job in jobs:
        if isinstance(job, bigquery.QueryJob):
            numbers = {
                "bytes_processed": job.total_bytes_processed,
                "bytes_billed": job.total_bytes_billed,
                "slot_ms": job.slot_millis,
            }
        else:
            # BigQuery does not bill what is loaded, nor the slots that load it.
            numbers = {"bytes_processed": job.input_file_bytes, "bytes_billed": 0}
        for name, number in numbers.items():
            if number is not None:
                told[name] = int(told.get(name, 0)) + number
    return told
