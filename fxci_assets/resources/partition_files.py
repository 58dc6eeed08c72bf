"""A partition in a local folder: a file for each write, of which the newest is current.

Here belong how a file becomes durable, how the files are named and when superseded ones go. What
is in a file is `parquet_rows`; how they are read, `local_warehouse`. This needs no more than
pyarrow, as the drain has a memory budget.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from fxci_assets import durable
from fxci_assets.resources import parquet_rows
from fxci_assets.resources.warehouse import PartitionWrite
from fxci_assets.rows_hash import RowsHash
from fxci_assets.tables import Relation, arrow_schema

GRACE_SECONDS = 3_600
"""How long a superseded file is kept for the queries that may still read it."""


def replace(
    folder: Path,
    table: Relation,
    day: dt.date | None,
    rows: Iterable[pa.RecordBatch],
    labels: Mapping[str, str],
    before_commit: Callable[[], None],
) -> PartitionWrite:
    """Makes these rows the folder's current ones. `day` is None for what has no partitions.

    Raises WarehouseError for rows of another schema or another day.
    """
    durable.make_folder(folder)
    temporary = folder / f"{durable.TEMPORARY}{uuid.uuid4().hex}"
    try:
        hashed = RowsHash()
        parquet_rows.write(temporary, table, day, hashed.over(rows), labels)
        durable.sync(temporary)
        before_commit()
        path = folder / _next_name(folder, table)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync(folder)
    _remove_superseded(folder)
    return PartitionWrite(path.as_uri(), path.stat().st_size, hashed.rows, hashed.hexdigest())


def current(folder: Path) -> Path | None:
    """The newest file, if there is any."""
    names = _names(folder)
    return folder / names[-1] if names else None


def has_current_schema(path: Path, table: Relation) -> bool:
    """Whether a file was written with the columns that the table has now."""
    return path.name.endswith(f"-{_schema_mark(table)}.parquet")


def entries(folder: Path) -> list[str]:
    """The names of what is in a folder; none if it is not there."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _names(folder: Path) -> list[str]:
    """The names of a day's files, oldest first."""
    names = entries(folder)
    return sorted(n for n in names if n.endswith(".parquet") and not n.startswith("."))


def _next_name(folder: Path, table: Relation) -> str:
    """A name that sorts behind all others, also when the clock was set back."""
    names = _names(folder)
    newest = int(names[-1].split("-", 1)[0]) if names else 0
    moment = max(time.time_ns(), newest + 1)
    return f"{moment:020d}-{uuid.uuid4().hex}-{_schema_mark(table)}.parquet"


def _schema_mark(table: Relation) -> str:
    """Ends the name of a file, so that a query need not open it to know its columns."""
    return hashlib.sha256(str(arrow_schema(table)).encode()).hexdigest()[:8]


def _remove_superseded(folder: Path) -> None:
    """Removes what no query can be reading any more: files that were superseded, and writes that
    were broken off, longer ago than the grace."""
    limit = time.time() - GRACE_SECONDS
    names = _names(folder)
    # A file was superseded when its successor was written.
    stale = [
        folder / name
        for name, successor in itertools.pairwise(names)
        if _modified(folder / successor) < limit
    ]
    stale += [
        folder / name
        for name in entries(folder)
        if name.startswith(durable.TEMPORARY) and _modified(folder / name) < limit
    ]
    for path in stale:
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    """When a file was last written; one that another writer has just removed counts as new."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
