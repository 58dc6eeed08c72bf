"""What people have written in README.md, docs and deploy is so.

Here belongs what can be held against the code: names, defaults, times, links, commands. The pages
that are made from the code have tests of their own (`test_cli`, `test_table_reference`), and so
have the queries (`test_questions`).
"""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import dagster as dg
import msgspec
import pytest

from fxci_assets.assets.building import OWN_DAYS
from fxci_assets.checks import all_checks
from fxci_assets.cli import main
from fxci_assets.definitions import build_defs
from fxci_assets.settings import BigQuery, Secret, Settings, variable
from fxci_assets.tables import TABLES

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "fxci_assets"
README = CHECKOUT / "README.md"
OPERATING = CHECKOUT / "docs" / "operating.md"
PAGES = [README, *sorted(CHECKOUT.glob("docs/*.md")), *sorted(CHECKOUT.glob("deploy/*.md"))]
FILES = [*PAGES, *sorted(CHECKOUT.glob("deploy/*.yaml"))]
"""All that people read before they deploy."""


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


# --- what is on a page ----------------------------------------------------------------------------

_FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)


def spans(text: str) -> list[str]:
    """The code within lines; it may be broken over two."""
    return [" ".join(span.split()) for _, span in _SPAN.findall(_FENCE.sub("", text))]


def table(page: Path, head: str) -> list[list[str]]:
    """The cells of the table that begins with a header, without that."""
    lines = iter(page.read_text().splitlines())
    assert head in lines, f"{name_of(page)} has no table {head}"
    next(lines)
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def stale(said: Iterable[object], so: Iterable[object]) -> list[str]:
    """Where a page and the code differ; each is said once."""
    on_page, in_code = Counter([*said]), Counter([*so])
    return [
        *(f"{one} is on the page only, or twice" for one in on_page - in_code),
        *(f"{one} is in the code only" for one in in_code - on_page),
    ]


# --- settings -------------------------------------------------------------------------------------


def settings_of(section: msgspec.Struct, *names: str) -> Iterator[tuple[str, object]]:
    """Each setting by its environment variable, with its default."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield from settings_of(value, *names, field.name)
        elif names:
            yield variable("_".join(names), field.name), value
        else:
            yield f"FXCI_{field.name}".upper(), value


SETTINGS: Mapping[str, object] = dict(settings_of(Settings()))


def in_full(names: Sequence[str]) -> list[str]:
    """Settings as a row names them: after the first, `_KEY` stands for one of the same section."""
    first = names[0]
    cuts = [first[: match.start()] for match in re.finditer("_", first)]
    full = [first]
    for name in names[1:]:
        known = [cut + name for cut in reversed(cuts) if cut + name in SETTINGS]
        full.append(known[0] if name.startswith("_") and known else name)
    return full


def is_default(said: str, value: object) -> bool:
    said = said.strip("`")
    if value is None or isinstance(value, Secret):
        return said in ("", "the environment's")
    if isinstance(value, bool):
        return said == str(value).lower()
    if isinstance(value, int | float):
        return said.replace(".", "", 1).isdigit() and float(said) == value
    # Long names are cut short.
    parts = map(re.escape, said.split("…"))
    return re.fullmatch(".*".join(parts), str(value)) is not None


class TestSettings:
    rows = table(README, "| setting | default | what it is |")

    def test_the_readme_has_each_and_no_other(self) -> None:
        named = [name for cell, *_ in self.rows for name in in_full(spans(cell))]
        assert stale(named, SETTINGS) == [], "the README's table of settings"

    def test_their_defaults_are_those_of_the_code(self) -> None:
        wrong: list[str] = []
        for cell, default, _ in self.rows:
            values: list[object] = []
            for name in in_full(spans(cell)):
                value = SETTINGS[name]
                values += value if isinstance(value, tuple) else [value]
            said = [part.strip() for part in default.split(",")]
            if len(said) == 1:  # for all of them
                said *= len(values)
            if "…" in said[-1]:  # and so on
                values = values[: len(said)]
            if len(said) != len(values) or not all(map(is_default, said, values)):
                wrong.append(f"{cell} is said to be {default}, and is {values}")
        assert wrong == [], "the README's defaults"


OTHERS = {
    # Dagster's own, and those of deploy/dagster.yaml.
    *("DAGSTER_HOME", "DAGSTER_PG_DB", "DAGSTER_PG_HOST", "DAGSTER_PG_PASSWORD", "DAGSTER_PG_PORT"),
    *("DAGSTER_PG_USER",),
    # The tests', and Compose's.
    *("FXCI_FAULT_KILLS", "FXCI_FAULT_ROUNDS", "FXCI_SAMPLE_DATA", "FXCI_TEST_BIGQUERY"),
    *("FXCI_IMAGE_TAG",),
}
"""Variables that are no settings."""


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_each_variable_that_is_named_is_one(file: Path) -> None:
    # One that ends in _ or … stands for several.
    named = set(re.findall(r"\b(?:FXCI|DAGSTER)_\w*[A-Z](?![\w…])", file.read_text()))
    assert named - SETTINGS.keys() - OTHERS == set(), f"{name_of(file)} names what nobody reads"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_table_that_is_named_is_one(page: Path) -> None:
    named = set(re.findall(r"\b[a-z_]+_v\d\b", page.read_text()))
    assert named - {table.name for table in TABLES} == set(), f"{name_of(page)} names no table"


# --- checks and reasons of quarantine -------------------------------------------------------------


def test_the_checks_and_their_severities() -> None:
    said = [
        (name, severity)
        for cell, severity, _ in table(OPERATING, "| check | severity | when it fails |")
        for name in spans(cell)
    ]
    words = {dg.AssetCheckSeverity.ERROR: "error", dg.AssetCheckSeverity.WARN: "warning"}
    made = {(check.name, words[check.severity]) for check in all_checks(Settings())}
    made.add((OWN_DAYS, "error"))
    assert stale(said, made) == [], "the table of checks in operating.md"


_GIVES_A_REASON = {"Unusable", "Item", "_item", "reasons.append"}
"""What is given a reason of quarantine, as its first argument or by that name."""


def reasons_given(path: Path) -> Iterator[str]:
    """The reasons of quarantine that a module names."""
    tree = ast.parse(path.read_text())
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) not in _GIVES_A_REASON:
            continue
        given = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "reason")]
        if not given:
            continue
        reason = given[0]
        assert not isinstance(reason, ast.Constant), (
            f"{name_of(path)}:{call.lineno}: a reason needs a name"
        )
        if isinstance(reason, ast.Name) and reason.id.isupper():
            module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
            yield getattr(importlib.import_module(module), reason.id)


def test_the_reasons_of_quarantine() -> None:
    rows = table(OPERATING, "| reason | what is wrong | replay |")
    said = [reason for cell, *_ in rows for reason in spans(cell)]
    given = {reason for path in PACKAGE.rglob("*.py") for reason in reasons_given(path)}
    assert len(given) > 20
    assert stale(said, given) == [], "the table of reasons in operating.md"


# --- what runs when -------------------------------------------------------------------------------


class Automation(NamedTuple):
    """A schedule or a sensor as the page tells of it."""

    kind: str
    name: str
    when: str
    job: str


def in_words(cron: str) -> str:
    minute, hour, *_, weekday = cron.split()
    if minute.startswith("*/"):
        return f"every {minute[2:]} minutes"
    if hour == "*":
        return f"at :{minute}"
    time = f"{dt.time(int(hour), int(minute)):%H:%M}"
    return time if weekday == "*" else {"0": "Sundays "}[weekday] + time


def every(seconds: int) -> str:
    return "every minute" if seconds == 60 else f"every {seconds // 60} minutes"


class TestWhatRunsWhen:
    definitions = build_defs(Settings(bigquery=BigQuery(view_dataset="fxci")))
    head = "| | when | job | |"

    def test_each_schedule_and_sensor(self) -> None:
        said = [
            Automation(cell.split()[0], name, when, job)
            for cell, when, job_cell, _ in table(OPERATING, self.head)
            for name, job in [(*spans(cell), *spans(job_cell))]
        ]
        made: set[Automation] = set()
        for schedule in self.definitions.schedules or ():
            assert isinstance(schedule, dg.ScheduleDefinition)
            assert isinstance(schedule.cron_schedule, str)
            when = in_words(schedule.cron_schedule)
            made.add(Automation("schedule", schedule.name, when, schedule.job_name))
        for sensor in self.definitions.sensors or ():
            assert sensor.minimum_interval_seconds is not None
            assert sensor.job_name is not None
            when = every(sensor.minimum_interval_seconds)
            made.add(Automation("sensor", sensor.name, when, sensor.job_name))
        assert stale(said, made) == [], "the table of what runs when in operating.md"

    def test_each_job(self) -> None:
        jobs = {job.name for job in self.definitions.jobs or ()}
        in_operating = {spans(job)[0] for _, _, job, _ in table(OPERATING, self.head)}
        assert stale(in_operating, jobs) == [], "the jobs in operating.md"
        sentence = re.search(r"The jobs are (.*?)\. ", README.read_text(), re.DOTALL)
        assert sentence is not None
        assert stale(spans(sentence[1]), jobs) == [], "the jobs in the README"


# --- links and files ------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = _FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, each with an anchor or without."""
    text = _SPAN.sub("`code`", _FENCE.sub("", page.read_text()))
    targets = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text)
    return [((page.parent / path).resolve() if path else page, anchor) for path, anchor in targets]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    found = links(page)
    gone = [name_of(path) for path, _ in found if not path.exists()]
    assert gone == [], f"{name_of(page)} links to what is not there"
    wrong = [f"{name_of(path)}#{a}" for path, a in found if a and a not in anchors(path)]
    assert wrong == [], f"{name_of(page)} links to headings that are not there"


def test_the_table_of_contents_has_every_page() -> None:
    linked = {path for path, _ in links(CHECKOUT / "docs" / "README.md")}
    folders = {path.parent for path in CHECKOUT.glob("docs/*/**/*.sql")}
    missing = {*PAGES, *folders} - {README, CHECKOUT / "docs" / "README.md"} - linked
    assert sorted(map(name_of, missing)) == [], "docs/README.md does not link to all there is"


def test_a_stranger_finds_each_room() -> None:
    rows = table(README, "| in `fxci_assets/` | what |")
    said = {path for row in rows for cell in row for path in spans(cell)} - {"fxci-etl"}
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if (path / "__init__.py").exists() or path.suffix == ".py"
    }
    assert stale(said, rooms - {"__init__.py"}) == [], "the README's Find your way"


# --- commands -------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each fxci-etl on a page."""
    text = page.read_text()
    for code in [*_FENCE.findall(text), *spans(text)]:
        if "fxci-etl" not in code:
            continue
        if code.startswith("["):  # as Kubernetes and Airflow take a command
            yield json.loads(code)[1:]
            continue
        # A shell's; in a block, each line is a command that no quote carries over the line's end.
        plain = re.sub(r"(^|\s)#.*$", "", code.replace("\\\n", " "), flags=re.MULTILINE)
        lexer = shlex.shlex(plain, posix=True, punctuation_chars="\n|<>;&")
        lexer.whitespace, lexer.whitespace_split = " \t", True
        lexer.commenters = ""
        arguments: list[str] | None = None
        for token in [*lexer, "\n"]:
            if set(token) <= set("\n|<>;&"):
                if arguments is not None:
                    yield arguments
                arguments = None
            elif arguments is not None:
                arguments.append(token)
            elif re.fullmatch(r"(\S*/)?fxci-etl", token):
                arguments = []


def parse(arguments: Sequence[str]) -> None:
    """Raises click.UsageError for a command or an option that is not there. What is left out may
    be required: prose names commands without all that they need."""
    command: click.Command = main
    context = click.Context(main, info_name="fxci-etl", **main.context_settings)
    left = list(arguments)
    while True:
        _, left, _ = command.make_parser(context).parse_args(left)
        if not isinstance(command, click.Group):
            break
        if not left:
            return
        name, found, left = command.resolve_command(context, left)
        assert found is not None
        context = click.Context(found, context, info_name=name, **found.context_settings)
        command = found
    if left:
        raise click.UsageError(f"{' '.join(left)} is too much for {context.command_path}")


WRITTEN = [page for page in PAGES if name_of(page) not in ("docs/cli.md", "docs/tables.md")]


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_each_command_is_one(page: Path) -> None:
    wrong: list[str] = []
    for arguments in commands(page):
        said = " ".join(arguments)
        try:
            parse(arguments)
        except click.UsageError as error:
            wrong.append(f"fxci-etl {said}: {error.format_message()}")
        files = re.findall(r"\$\(cat (\S+)\)", " ".join(said.split()))
        wrong += [f"{file} is not there" for file in files if not (CHECKOUT / file).is_file()]
    assert wrong == [], f"{name_of(page)} has commands that are none"


def test_commands_are_found_on_the_pages() -> None:
    """Else the test above would pass of what it does not see."""
    named = {arguments[0] for page in WRITTEN for arguments in commands(page) if arguments}
    assert named >= main.commands.keys()
    for stale in (["rebuild", "--day", "2026-04-13"], ["metric", "exports"], ["repair", "today"]):
        with pytest.raises(click.UsageError):
            parse(stale)
