"""The warehouse: partitions are written and replaced, tables are queried in BigQuery's dialect.

The interface only. `local_warehouse` is a folder of Parquet files, `bigquery_warehouse` is
BigQuery. What a table is, is `fxci_assets.tables`; when a partition is rebuilt,
`fxci_assets.freshness`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from fxci_assets.tables import Table

if TYPE_CHECKING:
    from fxci_assets.dialect import Value


@dataclass(frozen=True, slots=True)
class PartitionWrite:
    """What a write left behind."""

    uri: str
    bytes: int
    rows: int
    data_version: str
    """The same for the same rows."""
    job: Mapping[str, str | int] = field(default_factory=dict)
    """What the engine tells of the work, such as the bytes that it billed; none of a local file."""


class WarehouseError(Exception):
    """Rows that must not be stored; the message is one line."""


def at_once() -> None:
    """Nothing to be done before a write takes effect."""


class Warehouse(Protocol):
    """Where the tables are.

    Both ways to write replace the day's rows: a reader sees the old ones or the new ones, whole,
    and an error leaves the old ones. `before_commit` is called just before the new rows become the
    partition, and its error is one too. `labels` tell people who wrote.
    """

    @property
    def target(self) -> str:
        """`project.dataset` of the tables."""

    def name(self, table: Table) -> str:
        """What a query calls a table: `project.dataset.table`."""

    def write_partition(
        self,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        *,
        labels: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] = at_once,
    ) -> PartitionWrite:
        """Makes these rows the day's. The batches have the table's Arrow schema."""

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
        """Makes the result of a SELECT in BigQuery's dialect the day's rows. Its columns are the
        table's, by name and in any order."""

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        maximum_bytes_billed: int | None = None,
    ) -> pa.Table:
        """The result of a SELECT in BigQuery's dialect, of one moment across all its tables. Where
        the engine bills, one that would be billed for more than a maximum is refused."""

    def stream(self, sql: str, parameters: Mapping[str, Value]) -> Iterator[pa.Table]:
        """The result of a SELECT as of `query`, in parts, for what memory is not to hold."""

    def dry_run(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        """The bytes that a query would process. Raises what the query would raise."""

    def ensure_tables(self, tables: Sequence[Table]) -> None:
        """Makes tables what their specs say, as far as that is ours to do.

        Raises WarehouseError, after all were looked at, that names those that are something else.
        """

    def ensure_views(self, views: Mapping[str, str]) -> None:
        """Makes these queries the views' of these names, `dataset.view`."""

    def partitions(self, table: Table) -> Sequence[dt.date]:
        """The days that have a partition, be it empty, ascending."""

    def exists(self, table: Table) -> bool:
        """Whether there is such a table, be it empty."""

    def has_unsettled_rows(self, table: Table) -> bool:
        """Whether the table has rows that are in no partition yet."""
