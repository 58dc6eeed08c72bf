"""Definitions of tasks as the queue's API answered them, and which are still to be fetched.

`task_definitions/date=<day of created>/<unique>.parquet`, append-only. Beside them, as state:

`task_definitions/told/date=<day of receipt>/<name of a file of events>`: the tasks that this file
tells were defined, written when each of them is archived, pending or in quarantine. A file of
events that has none is still to be looked at. Together they say which tasks were fetched before:
the definitions themselves do not, because a message does not tell on which day its task was
created, and to read a week of bodies for their ids would take minutes.

`task_definitions/pending/<unique>`: tasks of which no definition was had yet, and since when.
A file is never changed: who settles some of its tasks writes the others anew, and then removes the
files that it has read. So a task can be on the list twice, but it never gets lost, whoever else
does the same and wherever one dies.

When what is fetched is decided by `fxci_assets.definitions_fetch`; what a definition means is
`fxci_assets.taskcluster.definitions`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pyarrow as pa

from fxci_assets.archive.files import DayFiles, folder_of, to_parquet
from fxci_assets.archive.store import Store, at_once

DEFINITION_SCHEMA = pa.schema(
    [
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
    ]
)
"""A definition as it was answered."""

_FOLDER = "task_definitions"
_TOLD = f"{_FOLDER}/told"
_PENDING = f"{_FOLDER}/pending"
_FORMAT = b"task_definitions/1"


class Definition(NamedTuple):
    """A definition, and when it was fetched. The body is never altered."""

    task_id: str
    fetched_at: dt.datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """The tasks that were asked for and not returned, with when they were first asked for."""

    since: Mapping[str, dt.datetime]
    files: tuple[str, ...]
    """The files that say so."""


class _Asked(msgspec.Struct, frozen=True):
    """What is in a file of the pending list."""

    since: dict[str, dt.datetime]


class DefinitionFiles(DayFiles):
    """The archived definitions, and the state of fetching them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _FOLDER, _FORMAT)

    def write(self, day: dt.date, definitions: Sequence[Definition]) -> None:
        """Add one file to a day; it is durable on return."""
        columns = list(zip(*definitions, strict=True))
        data = to_parquet(pa.table(columns, schema=DEFINITION_SCHEMA), _FORMAT)
        fetched_at = min(definition.fetched_at for definition in definitions).astimezone(dt.UTC)
        name = f"{fetched_at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex}.parquet"
        self._store.create(f"{folder_of(_FOLDER, day)}/{name}", data)

    def read(self, day: dt.date, files: Sequence[str]) -> Iterator[pa.Table]:
        """The definitions in some of the day's files, in parts that are small in memory.

        Raises ArchiveError where one cannot be read.
        """
        for name in files:
            yield from self.parts(day, name)

    def told_files(self, day: dt.date) -> list[str]:
        """Names of the files of events, of a day of receipt, that were looked at."""
        return self._store.files(folder_of(_TOLD, day))

    def told_tasks(self, day: dt.date, files: Sequence[str]) -> pa.ChunkedArray:
        """The tasks that some of these files tell were defined."""
        paths = [f"{folder_of(_TOLD, day)}/{name}" for name in files]
        chunks = [
            pa.array(msgspec.json.decode(data, type=list[str]), pa.string())
            for data in at_once(self._store.read, paths)
        ]
        return pa.chunked_array(chunks, pa.string())

    def record_told(self, day: dt.date, file: str, tasks: Collection[str]) -> None:
        """A file of events was looked at, and each of the tasks is taken care of. To record it
        again changes nothing."""
        self._store.replace(f"{folder_of(_TOLD, day)}/{file}", msgspec.json.encode(list(tasks)))

    def pending(self) -> Pending:
        """The tasks that were asked for and not returned."""
        since: dict[str, dt.datetime] = {}
        files: list[str] = []
        for name in self._store.files(_PENDING):
            try:
                data = self._store.read(f"{_PENDING}/{name}")
            except FileNotFoundError:  # settled by another since the folder was listed
                continue
            for task_id, at in msgspec.json.decode(data, type=_Asked).since.items():
                since[task_id] = min(at, since.get(task_id, at))
            files.append(name)
        return Pending(since, tuple(files))

    def add_pending(self, since: Mapping[str, dt.datetime]) -> None:
        """Put tasks on the list; durable on return."""
        if since:
            data = msgspec.json.encode(_Asked(dict(since)))
            self._store.create(f"{_PENDING}/{uuid.uuid4().hex}", data)

    def settle_pending(self, pending: Pending, left: Mapping[str, dt.datetime]) -> None:
        """Take off the list what was on it and is not left. What others have added meanwhile
        stays."""
        if len(pending.files) <= 1 and left == pending.since:
            return
        self.add_pending(left)
        for name in pending.files:
            self._store.remove(f"{_PENDING}/{name}")
