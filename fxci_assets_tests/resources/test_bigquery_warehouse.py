"""BigQuery: the real client against a server, and what goes wrong there.

What is so of every warehouse is in `test_warehouse_contract`. A test that takes `server` looks into
our own, or lets it go wrong; all others hold against Google's too.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery as google_bigquery

from fxci_assets import sql
from fxci_assets.dialect import QueryError, Value
from fxci_assets.resources.bigquery_jobs import BigQueryError, Patience, labels_of
from fxci_assets.resources.bigquery_schema import bigquery_schema
from fxci_assets.resources.bigquery_warehouse import BigQueryWarehouse, plain_clients
from fxci_assets.resources.google_credentials import CredentialsError
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.tables import (
    TASK_RUN_COSTS,
    TASK_RUNS,
    WORKER_COSTS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
    Column,
    Mode,
    Table,
    arrow_schema,
)
from fxci_assets_tests.bigquery import EMULATOR, Place
from fxci_assets_tests.bigquery_server import (
    BigQueryServer,
    Failure,
    Fault,
    Lost,
    Refusal,
    Unfinished,
)
from fxci_assets_tests.bigquery_tables import SMALLEST_BILL
from fxci_assets_tests.sql.small import LEVEL_1, at, cost, task_run, usage
from fxci_assets_tests.warehouse_rows import DAY, EVENTS, NEXT_DAY, TALLIES, batch, event, tally

DEFINITIONS = Table(
    name="definitions_v1",
    view="definitions",
    title="Definitions",
    description="A table with JSON.",
    columns=(
        Column("id", "STRING", Mode.REQUIRED, "A name."),
        Column("day", "DATE", Mode.REQUIRED, "The UTC day; the partition."),
        Column("at", "TIMESTAMP", Mode.REQUIRED, "When."),
        Column("payload", "JSON", Mode.REQUIRED, "What to do."),
        Column("extra", "JSON", Mode.NULLABLE, "What else."),
        Column("retries", "INTEGER", Mode.NULLABLE, "How often."),
        Column("price", "NUMERIC", Mode.NULLABLE, "How much."),
        Column("share", "FLOAT", Mode.NULLABLE, "How much of all."),
        Column("scopes", "STRING", Mode.REPEATED, "Some names."),
        Column(
            "tags",
            "RECORD",
            Mode.NULLABLE,
            "What it is.",
            fields=(Column("kind", "STRING", Mode.NULLABLE, "Its kind."),),
        ),
    ),
    key=("id",),
    partition_column="day",
    clustering=("id",),
    group="test",
    kinds=frozenset(),
)


@pytest.fixture
def events(bigquery: Place) -> Table:
    return bigquery.table(EVENTS)


@pytest.fixture
def tallies(bigquery: Place) -> Table:
    return bigquery.table(TALLIES)


@pytest.fixture
def warehouse(bigquery: Place, events: Table, tallies: Table) -> BigQueryWarehouse:
    return bigquery.warehouse()


def write(
    warehouse: BigQueryWarehouse, table: Table, *ids: str, day: dt.date = DAY
) -> dict[str, str | int]:
    """Makes these the events of a day; returns what is told of the job."""
    rows = [batch(table, *(event(day, id=id) for id in ids))] if ids else []
    return dict(warehouse.write_partition(table, day, rows).job)


def ids(warehouse: BigQueryWarehouse, table: Table) -> list[str]:
    """Of the events of both days."""
    result = warehouse.query(
        f"SELECT id FROM `{warehouse.target}.{table.name}` WHERE day BETWEEN @day AND @next "
        "ORDER BY id",
        {"day": DAY, "next": NEXT_DAY},
    )
    return [row["id"] for row in result.to_pylist()]


def copied(warehouse: BigQueryWarehouse, events: Table) -> str:
    """A query that makes tallies of events."""
    return (
        f"SELECT id AS name, number, seconds AS share, day FROM `{warehouse.target}.{events.name}` "
        "WHERE day = @day"
    )


def failed(action: Callable[[], object], error: type[Exception] = BigQueryError) -> str:
    with pytest.raises(error) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)


class TestATable:
    def test_is_made_by_its_spec(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])

        found = bigquery.resource(events.name)
        assert found.schema == bigquery_schema(events)
        assert found.description == events.description
        assert found.time_partitioning.type_ == "DAY"
        assert found.time_partitioning.field == "day"
        assert found.time_partitioning.expiration_ms is None
        assert found.clustering_fields == ["id", "number"]
        assert found.require_partition_filter is True

    def test_is_made_by_the_first_write(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        assert bigquery.resource(events.name).schema == bigquery_schema(events)

    def test_is_looked_at_once(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        for _ in range(3):
            write(warehouse, events, "A")
        assert server.operations().count("tables.get") == 1
        assert server.operations().count("tables.insert") == 1

    def test_keeps_its_descriptions_through_writes(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table, tallies: Table
    ) -> None:
        write(warehouse, events, "A")
        write(warehouse, events, "B")
        warehouse.write_query(tallies, DAY, copied(warehouse, events), {"day": DAY})
        assert bigquery.resource(events.name).schema == bigquery_schema(events)
        assert bigquery.resource(tallies.name).schema == bigquery_schema(tallies)

    def test_is_given_the_descriptions_and_columns_of_a_newer_spec(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        columns = [replace(column, description="Anew.") for column in events.columns]
        newer = replace(
            events,
            description="Anew.",
            columns=(*columns, Column("note", "STRING", Mode.NULLABLE, "A note.")),
        )

        bigquery.warehouse().ensure_tables([newer])

        found = bigquery.resource(events.name)
        assert found.schema == bigquery_schema(newer)
        assert found.description == "Anew."
        assert ids(warehouse, events) == ["A"]

    def test_that_is_another_one_is_an_error_that_shows_the_difference(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        columns = [c for c in events.columns if c.name != "good"]
        columns[3] = replace(columns[3], type="STRING")
        other = replace(events, columns=tuple(columns))

        assert failed(lambda: warehouse.ensure_tables([other])) == (
            f"{warehouse.target}.{events.name}: the table in BigQuery is not what its spec says: "
            "number is INTEGER and the spec has STRING; good BOOLEAN is not in the spec"
        )
        assert ids(warehouse, events) == ["A"]

    def test_that_is_laxer_is_written_all_the_same(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        lax = replace(
            events, columns=tuple(replace(c, mode=Mode.NULLABLE) for c in events.columns[:7])
        )
        lax = replace(lax, columns=(*lax.columns, *events.columns[7:]))
        bigquery.warehouse().ensure_tables([lax])
        write(warehouse, events, "A")
        assert ids(warehouse, events) == ["A"]
        assert bigquery.resource(events.name).schema[0].mode == "NULLABLE"

    def test_that_was_changed_meanwhile_is_looked_at_again(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])
        described = replace(events, description="Anew.")
        server.script("tables.patch", Refusal(412, "conditionNotMet"), Lost(), None)
        bigquery.warehouse().ensure_tables([described])
        assert bigquery.resource(events.name).description == "Anew."

    def test_that_was_dropped_is_not_made_by_a_load(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        with bigquery.client() as client:
            client.delete_table(f"{warehouse.target}.{events.name}")
        error = failed(lambda: write(warehouse, events, "A"))
        assert error.startswith(f"{warehouse.target}.{events.name} of 2026-04-13: notFound: ")

    def test_that_others_made_first_is_taken(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])
        server.script("tables.get", Refusal(404, "notFound"))
        write(bigquery.warehouse(), events, "A")
        assert ids(warehouse, events) == ["A"]


class TestATableThatOthersDeploy:
    @pytest.fixture
    def theirs(self, bigquery: Place, events: Table, tallies: Table) -> BigQueryWarehouse:
        return bigquery.warehouse(may_create=False)

    def test_is_not_made(self, theirs: BigQueryWarehouse, events: Table) -> None:
        error = failed(lambda: write(theirs, events, "A"))
        assert error == (
            f"{theirs.target}.{events.name} of 2026-04-13: the table is not there and has to be "
            "deployed; with FXCI_ETL_BIGQUERY_CREATE_TABLES it would be created"
        )

    def test_is_not_given_columns(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])
        note = Column("note", "STRING", Mode.NULLABLE, "A note.")
        newer = replace(events, columns=(*events.columns, note))
        theirs = bigquery.warehouse(may_create=False)
        assert failed(lambda: theirs.ensure_tables([newer])).endswith(
            "the table in BigQuery is not what its spec says: note STRING NULLABLE is missing"
        )

    def test_keeps_their_descriptions(
        self, bigquery: Place, theirs: BigQueryWarehouse, events: Table
    ) -> None:
        columns = tuple(replace(column, description="Theirs.") for column in events.columns)
        deployed = replace(events, description="Theirs.", columns=columns)
        bigquery.warehouse().ensure_tables([deployed])

        write(theirs, events, "A")

        found = bigquery.resource(events.name)
        assert found.description == "Theirs."
        assert {field.description for field in found.schema} == {"Theirs."}


class TestALoad:
    def test_is_one_job_of_one_file(
        self,
        server: BigQueryServer,
        bigquery: Place,
        warehouse: BigQueryWarehouse,
        events: Table,
    ) -> None:
        rows = [batch(events, event()), batch(events, event(id="B"))]
        warehouse.write_partition(events, DAY, rows, labels={"run": "Run 42"})

        assert server.operations() == ["tables.get", "tables.insert", "jobs.upload"]
        [configuration] = server.configurations("load")
        schema = configuration["load"].pop("schema")
        assert configuration == {
            "load": {
                "destinationTable": {
                    "projectId": bigquery.project,
                    "datasetId": bigquery.dataset,
                    "tableId": "events_v1$20260413",
                },
                "writeDisposition": "WRITE_TRUNCATE",
                "createDisposition": "CREATE_NEVER",
                "sourceFormat": "PARQUET",
                "parquetOptions": {"enableListInference": True},
            },
            "labels": {
                "application": "fxci-etl",
                "table": "events_v1",
                "day": "2026-04-13",
                "run": "run_42",
            },
            "jobTimeoutMs": "840000",
        }
        assert schema["fields"] == [field.to_api_repr() for field in bigquery_schema(events)]
        [job] = server.jobs("load")
        assert job["jobReference"]["jobId"].startswith("fxci-Run_42-events_v1-20260413-")
        assert job["jobReference"]["jobId"].endswith("-1")

    def test_has_the_bytes_that_the_local_warehouse_stores(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table, tmp_path: Path
    ) -> None:
        rows = [batch(events, event(), event(id="B"))]
        local = LocalWarehouse(tmp_path, "p", "d", tables=[events]).write_partition(
            events, DAY, rows, labels={"run": "42"}
        )
        with mock.patch.object(server.tables, "load", wraps=server.tables.load) as load:
            written = warehouse.write_partition(events, DAY, rows, labels={"run": "42"})
        [path] = tmp_path.rglob("*.parquet")
        [call] = load.call_args_list
        assert call.args[1] == path.read_bytes()
        assert (written.bytes, written.rows, written.data_version) == (
            local.bytes,
            local.rows,
            local.data_version,
        )

    def test_tells_of_its_job(self, warehouse: BigQueryWarehouse, events: Table) -> None:
        told = write(warehouse, events, "A")
        assert str(told["job_url"]).startswith("https://console.cloud.google.com/bigquery?project=")
        assert f":fxci-{events.name}-20260413-" in str(told["job_url"])
        assert int(told["bytes_processed"]) > 0
        assert told["bytes_billed"] == 0

    def test_of_more_than_five_megabytes(self, warehouse: BigQueryWarehouse, events: Table) -> None:
        """Which the client sends in another way."""
        text = os.urandom(6_000_000).hex()
        written = warehouse.write_partition(events, DAY, [batch(events, event(id=text))])
        assert written.bytes > 5 * 1024 * 1024
        assert ids(warehouse, events) == [text]

    def test_of_json_is_of_lines(self, bigquery: Place, server: BigQueryServer) -> None:
        definitions = bigquery.table(DEFINITIONS)
        bigquery.warehouse().write_partition(definitions, DAY, [batch(definitions, definition())])
        [configuration] = server.configurations("load")
        assert configuration["load"]["sourceFormat"] == "NEWLINE_DELIMITED_JSON"
        assert "parquetOptions" not in configuration["load"]

    def test_of_json_keeps_all_values(self, bigquery: Place) -> None:
        definitions = bigquery.table(DEFINITIONS)
        warehouse = bigquery.warehouse()
        rows = [
            definition(
                payload='{"command":["a\\nb","\u2028é"],"n":1.5}',
                extra='{\n  "deep": [{}, null]\r\n}',
                retries=2**63 - 1,
                price=Decimal("0.125"),
                share=1e-300,
                scopes=["b", "a"],
                tags={"kind": "build"},
            ),
            definition(id="B"),
            definition(id="C", payload="[]", tags={"kind": None}),
        ]

        written = warehouse.write_partition(definitions, DAY, [batch(definitions, *rows)])

        found = warehouse.query(
            f"SELECT * FROM `{warehouse.target}.{definitions.name}` WHERE day = @day ORDER BY id",
            {"day": DAY},
        ).to_pylist()
        for row in (*rows, *found):
            for name in ("payload", "extra"):
                row[name] = row[name] and json.loads(row[name])
        assert found == [{**row, "price": row["price"] and float(row["price"])} for row in rows]
        assert written.rows == 3

    def test_of_json_may_be_of_nothing(self, bigquery: Place) -> None:
        definitions = bigquery.table(DEFINITIONS)
        warehouse = bigquery.warehouse()
        warehouse.write_partition(definitions, DAY, [batch(definitions, definition())])
        warehouse.write_partition(definitions, DAY, [])
        assert list(warehouse.partitions(definitions)) == []

    def test_of_another_days_rows_would_be_refused(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        """By BigQuery, if it came to that."""
        warehouse.ensure_tables([events])
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches([batch(events, event(NEXT_DAY))]), file)
        options = google_bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True
        with bigquery.client() as client:
            job = client.load_table_from_file(
                file,
                f"{warehouse.target}.{events.name}$20260413",
                rewind=True,
                job_config=google_bigquery.LoadJobConfig(
                    source_format="PARQUET",
                    parquet_options=options,
                    write_disposition="WRITE_TRUNCATE",
                    create_disposition="CREATE_NEVER",
                    schema=bigquery_schema(events),
                ),
            )
            with pytest.raises(BadRequest, match="rows belong to different partitions"):
                job.result()


def definition(**values: Any) -> dict[str, Any]:  # noqa: ANN401
    row: dict[str, Any] = {
        "id": "A",
        "day": DAY,
        "at": dt.datetime(2026, 4, 13, 10, 0, 0, 1, dt.UTC),
        "payload": "{}",
        "extra": None,
        "retries": None,
        "price": None,
        "share": None,
        "scopes": [],
        "tags": None,
    }
    return row | values


class TestWhatGoesWrongWithALoad:
    @pytest.mark.parametrize("large", [False, True])
    def test_a_lost_answer_is_no_second_load(
        self,
        server: BigQueryServer,
        warehouse: BigQueryWarehouse,
        events: Table,
        large: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write(warehouse, events, "old")
        if large:
            monkeypatch.setattr("google.cloud.bigquery.client._MAX_MULTIPART_SIZE", 1)
            server.script("jobs.upload", None, Lost())
        else:
            server.script("jobs.upload", Lost())

        write(warehouse, events, "new")

        assert len(server.jobs("load")) == 2
        assert "jobs.get" in server.operations()
        assert ids(warehouse, events) == ["new"]

    def test_a_lost_answer_is_found_in_every_region(
        self, server: BigQueryServer, events: Table
    ) -> None:
        server.tables.create_dataset(
            {"datasetReference": {"datasetId": "far"}, "location": "europe-west1"}
        )
        try:
            with mock.patch.dict(os.environ, {EMULATOR: server.url}):
                place = Place(plain_clients("project", None), "project", "far", server)
                server.script("jobs.upload", Lost())
                job = write(place.warehouse(), events, "A")
            assert "bq:europe-west1:" in str(job["job_url"])
        finally:
            server.tables.delete_dataset("far")

    def test_a_job_that_is_there_may_be_unknown_for_a_moment(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("jobs.upload", Lost())
        server.script("jobs.get", Refusal(404, "notFound", "Not found: Job"), Refusal(503))
        write(warehouse, events, "A")
        assert ids(warehouse, events) == ["A"]

    @pytest.mark.parametrize(
        "fault",
        [
            Refusal(429),
            Refusal(500, "internalError"),
            Refusal(502),
            Refusal(503, "backendError"),
            Refusal(504),
            Refusal(403, "rateLimitExceeded"),
        ],
    )
    def test_a_request_is_made_again_after_what_passes(
        self,
        server: BigQueryServer,
        warehouse: BigQueryWarehouse,
        events: Table,
        fault: Fault,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.script("tables.get", fault, fault)
        server.script("tables.insert", fault)
        server.script("jobs.upload", fault, fault)

        write(warehouse, events, "A")

        assert server.operations().count("jobs.upload") == 3
        [job] = server.jobs("load")
        assert job["jobReference"]["jobId"].endswith("-1")
        assert f"{warehouse.target}.{events.name} of 2026-04-13: " in caplog.text
        assert "so it is; tried again for up to 90 s" in caplog.text

    @pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded", "jobInternalError"])
    def test_a_job_that_failed_for_a_passing_reason_is_followed_by_another(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table, reason: str
    ) -> None:
        server.script("jobs.upload", Failure(reason), Failure(reason))
        asked = []
        warehouse.write_partition(
            events,
            DAY,
            [batch(events, event())],
            before_commit=lambda: asked.append(time.monotonic()),
        )
        names = [job["jobReference"]["jobId"] for job in server.jobs("load")]
        assert [name.rsplit("-", 1) for name in names] == [
            [names[0].removesuffix("-1"), number] for number in ("1", "2", "3")
        ]
        assert len(asked) == 3
        assert ids(warehouse, events) == ["A"]

    def test_a_job_that_is_there_and_failed_is_followed_by_another(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("jobs.upload", Refusal(503), Failure("backendError"))
        write(warehouse, events, "A")
        assert ids(warehouse, events) == ["A"]

    def test_a_job_that_failed_for_good_is_not(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("jobs.upload", Failure("invalid", "Error while reading data,\nrow 1"))
        assert failed(lambda: write(warehouse, events, "A")) == (
            f"{warehouse.target}.{events.name} of 2026-04-13: "
            "invalid: Error while reading data, row 1"
        )
        assert server.operations().count("jobs.upload") == 1

    def test_a_job_is_waited_for(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("jobs.upload", Unfinished(looks=2))
        server.script("jobs.get", Refusal(503))
        write(warehouse, events, "A")
        assert server.operations().count("jobs.get") == 3

    def test_a_job_that_does_not_end_is_told_to(
        self,
        server: BigQueryServer,
        bigquery: Place,
        events: Table,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("fxci_assets.resources.bigquery_jobs._POLL_SECONDS", (0.01, 0.02))
        server.script("jobs.upload", Unfinished(looks=1_000_000))
        warehouse = bigquery.warehouse(patience=Patience(job_seconds=0.1))
        error = failed(lambda: write(warehouse, events, "A"))
        assert error.startswith(
            f"{warehouse.target}.{events.name} of 2026-04-13: timeout: job fxci-"
        )
        assert error.endswith(" did not end in 0.1 s")
        assert server.operations()[-1] == "jobs.cancel"

    def test_a_job_that_is_unknown_for_a_moment_is_waited_for(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("jobs.upload", Unfinished(looks=2))
        server.script("jobs.get", Refusal(404, "notFound", "Not found: Job"))
        write(warehouse, events, "A")
        assert ids(warehouse, events) == ["A"]
        assert len(server.jobs("load")) == 1

    def test_what_does_not_pass_is_given_up(
        self, server: BigQueryServer, bigquery: Place, events: Table
    ) -> None:
        patience = Patience(retry_seconds=0.2, first_pause=0.01)
        warehouse = bigquery.warehouse(patience=patience)
        server.script("jobs.upload", *[Refusal(503, "backendError", "try\nlater")] * 1_000)
        assert failed(lambda: write(warehouse, events, "A")) == (
            f"{warehouse.target}.{events.name} of 2026-04-13: backendError: try later "
            "(given up after 0.2 s)"
        )
        assert server.operations().count("jobs.upload") > 3

    def test_what_stays_failing_is_given_up(
        self, server: BigQueryServer, bigquery: Place, events: Table
    ) -> None:
        patience = Patience(retry_seconds=0.2, first_pause=0.01)
        warehouse = bigquery.warehouse(patience=patience)
        server.script("jobs.upload", *[Failure("backendError")] * 1_000)
        error = failed(lambda: write(warehouse, events, "A"))
        assert error.endswith("backendError: so it is (given up after 0.2 s)")

    def test_a_server_that_is_not_there(self) -> None:
        server = BigQueryServer()
        server.close()
        patience = Patience(retry_seconds=0.05, first_pause=0.01)
        with mock.patch.dict(os.environ, {EMULATOR: server.url}):
            clients = plain_clients("project", None)
            warehouse = BigQueryWarehouse(clients, "project", "data", patience=patience)
            error = failed(lambda: write(warehouse, EVENTS, "A"))
        assert error.startswith("project.data.events_v1 of 2026-04-13: ConnectionError: ")
        assert error.endswith(" (given up after 0.05 s)")


class TestAPartitionThatIsAQuery:
    def test_is_one_job_and_a_hash(
        self,
        server: BigQueryServer,
        bigquery: Place,
        warehouse: BigQueryWarehouse,
        events: Table,
        tallies: Table,
    ) -> None:
        write(warehouse, events, "A")
        query = copied(warehouse, events)
        warehouse.write_query(tallies, DAY, query, {"day": DAY}, labels={"run": "42"})

        dry, written, hashed = server.configurations("query")
        assert dry["dryRun"] is True
        assert written == {
            "query": {
                "query": f"SELECT `name`, `number`, `share`, `day` FROM (\n{query}\n)",
                "useLegacySql": False,
                "parameterMode": "NAMED",
                "queryParameters": [
                    {
                        "name": "day",
                        "parameterType": {"type": "DATE"},
                        "parameterValue": {"value": "2026-04-13"},
                    }
                ],
                "destinationTable": {
                    "projectId": bigquery.project,
                    "datasetId": bigquery.dataset,
                    "tableId": "tallies_v1$20260413",
                },
                "writeDisposition": "WRITE_TRUNCATE",
                "createDisposition": "CREATE_NEVER",
            },
            "labels": {
                "application": "fxci-etl",
                "table": "tallies_v1",
                "day": "2026-04-13",
                "run": "42",
            },
            "jobTimeoutMs": "840000",
        }
        assert "destinationTable" not in hashed["query"]
        assert hashed["labels"] == written["labels"]

    def test_tells_what_it_cost(
        self, warehouse: BigQueryWarehouse, events: Table, tallies: Table
    ) -> None:
        write(warehouse, events, "A")
        written = warehouse.write_query(tallies, DAY, copied(warehouse, events), {"day": DAY})
        assert set(written.job) == {"job_url", "bytes_processed", "bytes_billed", "slot_ms"}
        # Its own query, and that for the hash.
        assert int(written.job["bytes_billed"]) >= 2 * SMALLEST_BILL
        assert 0 < written.bytes <= int(written.job["bytes_processed"])

    def test_runs_once_though_the_answer_is_lost(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table, tallies: Table
    ) -> None:
        write(warehouse, events, "A")
        server.script("jobs.insert", None, Lost(), None)
        written = warehouse.write_query(tallies, DAY, copied(warehouse, events), {"day": DAY})
        assert len(server.jobs("query")) == 2
        assert written.rows == 1

    def test_is_run_again_after_what_passes(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table, tallies: Table
    ) -> None:
        write(warehouse, events, "A")
        server.script(
            "jobs.insert", None, Refusal(503), Failure("backendError"), Unfinished(looks=1)
        )
        asked = []
        written = warehouse.write_query(
            tallies,
            DAY,
            copied(warehouse, events),
            {"day": DAY},
            before_commit=lambda: asked.append(time.monotonic()),
        )
        assert written.rows == 1
        assert len(asked) == 2

    def test_that_is_wrong_is_told_before_anything_is_written(
        self, warehouse: BigQueryWarehouse, tallies: Table
    ) -> None:
        def never() -> None:
            raise AssertionError

        error = failed(
            lambda: warehouse.write_query(tallies, DAY, "SELECT nothing", {}, before_commit=never)
        )
        assert error.startswith(f"{warehouse.target}.{tallies.name} of 2026-04-13: invalidQuery: ")

    @pytest.mark.parametrize("built", [TASK_RUN_COSTS, WORKER_UTILIZATION], ids=lambda t: t.name)
    def test_of_the_project_has_the_rows_that_it_has_locally(
        self, bigquery: Place, tmp_path: Path, built: Table
    ) -> None:
        rows: dict[Table, list[dict[str, Any]]] = {
            WORKER_COSTS: [
                cost("1", 3.5, usage_start_date=DAY),
                cost("2", -1.0, usage_start_date=DAY, zone="US-Central1-B"),
            ],
            WORKER_USAGE: [usage("1", 7_200.0, usage_start_date=DAY)],
            TASK_RUNS: [
                task_run(n, at("10:00"), at("10:30"), instance="1") | {"submission_date": DAY}
                for n in (1, 2)
            ],
        }

        def made(warehouse: Warehouse, own: Mapping[Table, Table]) -> list[dict[str, Any]]:
            for table, of_day in rows.items():
                whole = [dict.fromkeys(arrow_schema(table).names) | row for row in of_day]
                warehouse.write_partition(own[table], DAY, [batch(table, *whole)])
            names = {table.name: f"{warehouse.target}.{own[table].name}" for table in own}
            parameters: dict[str, Value] = {"day": DAY, "projects": [LEVEL_1]}
            query = sql.text(f"{built.name}.sql", names)
            written = warehouse.write_query(own[built], DAY, query, parameters)
            found: list[dict[str, Any]] = warehouse.query(
                f"SELECT * FROM `{names[built.name]}` WHERE {built.partition_column} = @day "
                f"ORDER BY {', '.join(built.key)}",
                {"day": DAY},
            ).to_pylist()
            assert written.rows == len(found) == 2
            return found

        tables = (*rows, built)
        own = {table: bigquery.table(table) for table in tables}
        local = LocalWarehouse(tmp_path, "project", "fxci_derived", tables=tables)
        assert made(bigquery.warehouse(), own) == made(local, {table: table for table in tables})


class TestTheVersionOfAPartitionThatIsAQuery:
    @pytest.fixture
    def version(self, warehouse: BigQueryWarehouse, tallies: Table) -> Callable[..., str]:
        """Of a day of which these are the rows."""

        def version(*rows: dict[str, Any]) -> str:
            selects = " UNION ALL ".join(
                "SELECT {name} AS name, {number} AS number, {share} AS share, @day AS day".format(
                    name="CAST(NULL AS STRING)" if row["name"] is None else repr(row["name"]),
                    number=row["number"],
                    share=f"CAST('{row['share']!r}' AS FLOAT64)",
                )
                for row in rows
            )
            return warehouse.write_query(tallies, DAY, selects, {"day": DAY}).data_version

        return version

    def test_is_the_same_in_any_order(self, version: Callable[..., str]) -> None:
        assert version(tally("A"), tally("B")) == version(tally("B"), tally("A"))

    @pytest.mark.parametrize(
        ("share", "other"),
        [(0.1 + 0.2, 0.3), (1 / 3, 0.1 + 0.7 / 3), (1e-17, 0.0), (-1e-17, 0.0), (-0.0, 0.0)],
    )
    def test_is_the_same_whatever_the_last_digits(
        self, version: Callable[..., str], share: float, other: float
    ) -> None:
        assert version(tally(share=share)) == version(tally(share=other))

    def test_is_another_for_other_rows(self, version: Callable[..., str]) -> None:
        versions = [
            version(tally()),
            version(tally("B")),
            version(tally(number=2)),
            version(tally(share=0.500001)),
            version(tally(share=12345.67891)),
            version(tally(share=12345.67892)),
            version(tally("NULL")),
            version({**tally(), "name": None}),
            version(tally(), tally("B")),
        ]
        assert len(set(versions)) == len(versions)

    def test_counts_rows_that_are_there_twice(self, version: Callable[..., str]) -> None:
        """Though an exclusive or of their hashes would be nothing."""
        assert version(tally("A"), tally("A")) != version(tally("B"), tally("B"))


class TestAQuery:
    ALL = "SELECT id FROM {} WHERE day = '2026-04-13'"

    def test_is_one_job_with_a_bound(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        rows = warehouse.query(
            self.ALL.format(warehouse.name(events)), maximum_bytes_billed=5 * SMALLEST_BILL
        )
        assert len(rows) == 1
        [configuration] = server.configurations("query")
        assert configuration["query"]["maximumBytesBilled"] == str(5 * SMALLEST_BILL)
        assert configuration["labels"] == {"application": "fxci-etl"}

    def test_beyond_its_bound_is_refused(self, warehouse: BigQueryWarehouse, events: Table) -> None:
        write(warehouse, events, "A")
        sql = self.ALL.format(warehouse.name(events))
        error = failed(lambda: warehouse.query(sql, maximum_bytes_billed=1_000))
        assert error.startswith(
            "a query: bytesBilledLimitExceeded: Query exceeded limit for bytes billed: 1000. "
        )
        assert error.endswith(
            "; ask for fewer days or columns, or raise FXCI_ETL_BIGQUERY_MAXIMUM_BYTES_BILLED"
        )

    def test_has_the_rows_of_all_pages(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, *"ABCDE")
        with mock.patch.object(server, "page_rows", 2):
            server.script("jobs.getQueryResults", None, None, Refusal(503), Refusal(502), Lost())
            assert ids(warehouse, events) == list("ABCDE")

    def test_is_given_parameters_of_each_type(self, warehouse: BigQueryWarehouse) -> None:
        at = dt.datetime(2026, 4, 13, 10, 0, 0, 1, dt.UTC)
        result = warehouse.query(
            "SELECT @a AS a, @b AS b, @c AS c, @d AS d, @e AS e, @f AS f, @g AS g, @h AS h",
            {
                "a": "é'\n",
                "b": 2**62,
                "c": 0.1,
                "d": False,
                "e": DAY,
                "f": at,
                "g": ["a"],
                "h": [1, 2],
            },
        )
        assert list(result.to_pylist()[0].values()) == [
            "é'\n", 2**62, 0.1, False, DAY, at, ["a"], [1, 2],
        ]  # fmt: skip

    @pytest.mark.parametrize("value", [None, dt.datetime(2026, 4, 13), b"x", ["a", 1]])  # noqa: DTZ001
    def test_is_not_given_what_has_no_type(
        self,
        warehouse: BigQueryWarehouse,
        value: Any,  # noqa: ANN401
    ) -> None:
        with pytest.raises(TypeError, match="the parameter @a "):
            warehouse.query("SELECT @a AS a", {"a": value})

    def test_can_be_asked_what_it_would_read(
        self, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        query = f"SELECT id FROM `{warehouse.target}.{events.name}` WHERE day = @day"
        assert warehouse.dry_run(query, {"day": DAY}) > 0
        with pytest.raises(QueryError):
            warehouse.dry_run("SELECT nothing")

    def test_of_what_is_wrong_is_not_asked_again(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse
    ) -> None:
        with pytest.raises(QueryError):
            warehouse.query("SELECT nothing")
        assert server.operations().count("jobs.insert") == 1


class TestPartitions:
    def test_of_a_table_that_is_not_there_are_none(
        self, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        assert list(warehouse.partitions(events)) == []

    def test_need_their_data_set(self, bigquery: Place, events: Table) -> None:
        warehouse = BigQueryWarehouse(bigquery.clients, bigquery.project, "no_such_dataset")
        error = failed(lambda: warehouse.partitions(events))
        assert error.startswith(f"{bigquery.project}.no_such_dataset.{events.name}: notFound: ")
        assert "check FXCI_ETL_BIGQUERY_PROJECT and FXCI_ETL_BIGQUERY_DATASET" in error

    def test_of_no_day_are_passed_over(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A")
        listed = ["20260413", "__NULL__", "__UNPARTITIONED__"]
        with mock.patch.object(server.tables, "partitions", lambda *_: listed):
            assert list(warehouse.partitions(events)) == [DAY]

    def test_are_listed_without_a_job(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.partitions(events)
        assert not {"jobs.insert", "jobs.upload"} & set(server.operations())


class TestRowsThatWereStreamed:
    def test_are_unsettled_until_they_are_in_a_partition(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        assert not warehouse.has_unsettled_rows(events)  # nor is there a table
        warehouse.ensure_tables([events])
        assert not warehouse.has_unsettled_rows(events)
        server.tables.streamed.add((bigquery.dataset, events.name))
        assert warehouse.has_unsettled_rows(events)


class TestViews:
    def test_are_made_and_kept_current(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        write(warehouse, events, "A", "B")
        name = bigquery.view("people")
        table = f"`{warehouse.target}.{events.name}`"

        def seen() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = warehouse.query(
                f"SELECT * FROM `{bigquery.project}.{name}` WHERE day = @day ORDER BY id LIMIT 1",
                {"day": DAY},
            ).to_pylist()
            return rows

        warehouse.ensure_views({name: f"SELECT id, day FROM {table}"})
        assert seen() == [{"id": "A", "day": DAY}]
        warehouse.ensure_views({name: f"SELECT day, id FROM {table} WHERE id != 'A'"})
        assert seen() == [{"id": "B", "day": DAY}]

    def test_that_are_current_are_left_alone(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse
    ) -> None:
        views = {bigquery.view("people"): "SELECT 1 AS one"}
        warehouse.ensure_views(views)
        warehouse.ensure_views(views)
        assert "tables.patch" not in server.operations()

    def test_that_were_changed_meanwhile_are_looked_at_again(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse
    ) -> None:
        name = bigquery.view("people")
        warehouse.ensure_views({name: "SELECT 1 AS one"})
        server.script("tables.patch", Lost())
        warehouse.ensure_views({name: "SELECT 2 AS two"})
        assert bigquery.resource("people").view_query == "SELECT 2 AS two"

    def test_do_not_take_the_place_of_a_table(
        self, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])
        name = f"{bigquery.dataset}.{events.name}"
        assert failed(lambda: warehouse.ensure_views({name: "SELECT 1 AS one"})) == (
            f"view {bigquery.project}.{name}: it is a TABLE, not a view"
        )


class TestARefusal:
    """Names the table, and what to do."""

    DENIED = "Access Denied: Table project:data.events_v1: so it is"

    @pytest.mark.parametrize(
        ("operation", "fault", "what_to_do"),
        [
            (
                "tables.get",
                Refusal(403, "accessDenied", DENIED),
                "give these credentials the permission bigquery.tables.get",
            ),
            (
                "tables.insert",
                Refusal(403, "accessDenied", DENIED),
                "give these credentials the permission bigquery.tables.create",
            ),
            (
                "jobs.upload",
                Refusal(403, "accessDenied", DENIED),
                "give these credentials the permission bigquery.jobs.create and "
                "bigquery.tables.updateData",
            ),
            (
                "jobs.upload",
                Refusal(
                    403,
                    "accessDenied",
                    "Access Denied: Project project: User does not have bigquery.jobs.create "
                    "permission in project project.",
                ),
                "give these credentials the permission bigquery.jobs.create",
            ),
            (
                "jobs.upload",
                Failure(
                    "accessDenied",
                    "Access Denied: Table project:data.events_v1: Permission "
                    "bigquery.tables.updateData denied on table (or it may not exist).",
                ),
                "give these credentials the permission bigquery.tables.updateData",
            ),
            (
                "jobs.upload",
                Failure("quotaExceeded", "Quota exceeded: too many imports for this table"),
                "wait until the quota is filled up, or ask for more of it "
                "(https://cloud.google.com/bigquery/quotas)",
            ),
            (
                "jobs.upload",
                Refusal(429, "quotaExceeded", "Quota exceeded"),
                "wait until the quota is filled up, or ask for more of it "
                "(https://cloud.google.com/bigquery/quotas)",
            ),
            (
                "tables.insert",
                Refusal(404, "notFound", "Not found: Dataset project:data"),
                "it must be there, and called so: check FXCI_ETL_BIGQUERY_PROJECT and "
                "FXCI_ETL_BIGQUERY_DATASET, and of a billing export FXCI_ETL_BILLING_…",
            ),
        ],
    )
    def test_of_a_write(
        self,
        server: BigQueryServer,
        warehouse: BigQueryWarehouse,
        events: Table,
        operation: str,
        fault: Refusal | Failure,
        what_to_do: str,
    ) -> None:
        server.script(operation, fault)
        assert failed(lambda: write(warehouse, events, "A")) == (
            f"{warehouse.target}.{events.name} of 2026-04-13: {fault.reason}: {fault.message}; "
            f"{what_to_do}"
        )

    def test_of_an_update(
        self, server: BigQueryServer, bigquery: Place, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        warehouse.ensure_tables([events])
        server.script("tables.patch", Refusal(403, "accessDenied", self.DENIED))
        described = replace(events, description="Anew.")
        assert failed(lambda: warehouse.ensure_tables([described])) == (
            f"{warehouse.target}.{events.name}: accessDenied: {self.DENIED}; "
            "give these credentials the permission bigquery.tables.update"
        )

    def test_of_a_query(self, server: BigQueryServer, warehouse: BigQueryWarehouse) -> None:
        server.script("jobs.insert", Failure("accessDenied", self.DENIED))
        assert failed(lambda: warehouse.query("SELECT 1 AS one")) == (
            f"a query: accessDenied: {self.DENIED}; give these credentials the permission "
            "bigquery.jobs.create and bigquery.tables.getData"
        )

    def test_of_credentials_that_are_no_longer_good(
        self, server: BigQueryServer, bigquery: Place
    ) -> None:
        class Renewable(AnonymousCredentials):
            def refresh(self, request: object) -> None:
                pass

        client = google_bigquery.Client(
            bigquery.project,
            Renewable(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": server.url},
        )
        warehouse = BigQueryWarehouse(lambda: client, bigquery.project, bigquery.dataset)
        server.script("jobs.insert", *[Refusal(401, "authError", "Invalid Credentials")] * 5)
        assert failed(lambda: warehouse.query("SELECT 1 AS one")) == (
            "a query: authError: Invalid Credentials; renew the credentials "
            "(FXCI_ETL_BIGQUERY_CREDENTIALS)"
        )

    def test_without_a_word_from_bigquery(
        self, server: BigQueryServer, warehouse: BigQueryWarehouse, events: Table
    ) -> None:
        server.script("tables.get", Refusal(403, None, "a proxy's page"))
        error = failed(lambda: write(warehouse, events, "A"))
        assert error.endswith(
            "a proxy's page; give these credentials the permission bigquery.tables.get"
        )


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"run": "42"}, {"run": "42"}),
        ({"Run ID": "A/b é"}, {"run_id": "a_b__"}),
        ({"run": "x" * 100}, {"run": "x" * 63}),
        ({"0_run": ""}, {"run": ""}),
        ({"007": "james"}, {"label": "james"}),
    ],
)
def test_labels_are_made_such_as_bigquery_takes(
    given: dict[str, str], label: dict[str, str]
) -> None:
    assert labels_of(given) == label


class TestClients:
    NO_KEY = base64.b64encode(b'{"private_key": "hunter2"}').decode()

    @pytest.fixture
    def at_google(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(EMULATOR, raising=False)

    @pytest.mark.parametrize(
        ("encoded", "message"),
        [
            ("hunter2!", "is not base64 (of a service account's key in JSON)"),
            (NO_KEY, "is base64, but not of a service account's key in JSON"),
        ],
    )
    @pytest.mark.usefixtures("at_google")
    def test_need_credentials_that_can_be_read(self, encoded: str, message: str) -> None:
        warehouse = BigQueryWarehouse(plain_clients("project", encoded), "project", "data")
        with pytest.raises(CredentialsError) as error:
            warehouse.query("SELECT 1")
        assert str(error.value) == f"FXCI_ETL_BIGQUERY_CREDENTIALS {message}"
        assert error.value.__cause__ is None

    @pytest.mark.usefixtures("at_google")
    def test_are_made_with_the_environments_by_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "key.json"
        file.write_text('{"type": "nothing", "private_key": "hunter2"}')
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        warehouse = BigQueryWarehouse(plain_clients("project", None), "project", "data")
        error = failed(lambda: warehouse.query("SELECT 1"), CredentialsError)
        assert error.endswith(
            "; set FXCI_ETL_BIGQUERY_CREDENTIALS, or default credentials in the environment"
        )
        assert "hunter2" not in error

    def test_give_no_credentials_to_another_server(
        self, server: BigQueryServer, bigquery: Place
    ) -> None:
        """Though there are some."""
        assert os.environ[EMULATOR] == server.url
        clients = plain_clients(bigquery.project, "hunter2")
        warehouse = BigQueryWarehouse(clients, bigquery.project, bigquery.dataset)
        assert warehouse.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        with clients() as client:
            assert isinstance(client._credentials, AnonymousCredentials)

    def test_may_be_dagsters(self, server: BigQueryServer, bigquery: Place, events: Table) -> None:
        from dagster_gcp import BigQueryResource

        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        with mock.patch.object(google.auth, "default", lambda **_: (anonymous, None)):
            clients = BigQueryResource(project=bigquery.project).get_client
            warehouse = BigQueryWarehouse(clients, bigquery.project, bigquery.dataset)
            write(warehouse, events, "A")
            assert ids(warehouse, events) == ["A"]

    def test_of_dagster_without_credentials_is_one_line(self) -> None:
        from dagster_gcp import BigQueryResource

        none = DefaultCredentialsError("none found")  # type: ignore[no-untyped-call]
        with mock.patch.object(google.auth, "default", mock.Mock(side_effect=none)):
            clients = BigQueryResource(project="project").get_client
            warehouse = BigQueryWarehouse(clients, "project", "data")
            assert failed(lambda: warehouse.query("SELECT 1")) == (
                "a query: DefaultCredentialsError: none found; "
                "renew the credentials (FXCI_ETL_BIGQUERY_CREDENTIALS)"
            )


def test_a_drain_that_writes_stays_small(server: BigQueryServer, bigquery: Place) -> None:
    """Google's client takes pandas where it finds it."""
    program = (
        "import sys, datetime as dt\n"
        "from fxci_assets import memory\n"
        "with memory.small():\n"
        "    from fxci_assets.resources import bigquery_warehouse as bq\n"
        "    from fxci_assets.tables import TASKS\n"
        f"    clients = bq.plain_clients({bigquery.project!r}, None)\n"
        f"    names = {bigquery.project!r}, {bigquery.dataset!r}\n"
        "    warehouse = bq.BigQueryWarehouse(clients, *names)\n"
        "    warehouse.write_partition(TASKS, dt.date(2026, 4, 13), [])\n"
        "    assert not warehouse.partitions(TASKS)\n"
        "    print(sorted({'pandas', 'dagster', 'duckdb', 'sqlglot'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_nothing_of_google_is_imported_before_it_is_used() -> None:
    program = (
        "import sys\n"
        "import fxci_assets.deployments, fxci_assets.cli, fxci_assets.pipeline\n"
        "print(sorted(name for name in sys.modules if name.startswith('google')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("seconds", "share"), [(990.0, 1.0), (10_000.0, 1.0), (198.0, 0.2)])
def test_a_write_is_over_in_the_time_that_it_has(seconds: float, share: float) -> None:
    usual, found = Patience(), Patience.within(seconds)
    assert found.job_seconds == pytest.approx(share * usual.job_seconds)
    assert found.request_seconds + found.retry_seconds + found.job_seconds <= seconds
