"""Settings: where they are read from, which place wins, and that a secret is never shown."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fxci_assets.settings import (
    Billing,
    Monitoring,
    Pulse,
    Secret,
    Settings,
    SettingsError,
    load,
    require,
    variable,
)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home, without settings."""
    return {"HOME": str(tmp_path / "home")}


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def test_what_holds_when_nothing_is_set(home: dict[str, str]) -> None:
    settings = load(home)
    assert settings.deployment == "sandbox"
    assert settings.start_date == dt.date(2024, 7, 8)
    assert settings.sandbox_dir == Path.cwd() / ".sandbox"
    assert settings.pulse == Pulse()
    assert (settings.pulse.host, settings.pulse.port) == ("pulse.mozilla.org", 5671)
    assert (settings.pulse.tls, settings.pulse.durable) == (True, True)
    assert (settings.pulse.user, settings.pulse.password) == (None, None)
    assert settings.bigquery.project == "moz-fx-data-shared-prod"
    assert settings.bigquery.dataset == "fxci_derived"
    assert settings.run_limit == dt.timedelta(hours=1)
    assert settings.monitoring.projects == (
        "fxci-production-level1-workers",
        "fxci-production-level3-workers",
    )
    assert settings.monitoring.credentials is None
    assert settings.monitoring.retention_days == 40
    assert settings.billing == Billing(
        gcp="moz-fx-data-shared-prod.billing_syndicate."
        "gcp_billing_export_resource_v1_01E7D5_97288E_E2EBA0",
        azure_fxci="moz-fx-data-shared-prod.azure_billing_syndicate.fxci_daily_actual_load",
        azure_fxci_lookup="moz-fx-data-shared-prod.azure_billing_syndicate.fxci_daily_actual_lookup",
        azure_taskcluster="moz-fx-data-shared-prod.azure_billing_syndicate."
        "taskcluster_daily_actual_load",
        azure_taskcluster_lookup="moz-fx-data-shared-prod.azure_billing_syndicate."
        "taskcluster_daily_actual_lookup",
    )
    assert settings.rebuild.derived_days_seconds == 6 * 3_600
    assert settings.rebuild.run_costs_look_back_days == 30
    assert settings.checks.bill_share == 0.98


def test_explicit_file_beats_environment_beats_default_file(
    home: dict[str, str], tmp_path: Path
) -> None:
    write(
        tmp_path / "home/.config/fxci-etl/config.toml",
        '[pulse]\nuser = "default"\nhost = "default"\nport = 1\n',
    )
    environment = home | {"FXCI_ETL_PULSE_USER": "environment", "FXCI_ETL_PULSE_HOST": "variable"}
    config = write(tmp_path / "explicit.toml", '[pulse]\nuser = "explicit"\n')
    pulse = load(environment, config).pulse
    assert (pulse.user, pulse.host, pulse.port) == ("explicit", "variable", 1)
    assert pulse.durable is True


def test_the_default_file_is_in_xdg_config_home_where_that_is_set(
    home: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "home/.config/fxci-etl/config.toml", '[pulse]\nuser = "home"\n')
    write(tmp_path / "xdg/fxci-etl/config.toml", '[pulse]\nuser = "xdg"\n')
    assert load(home).pulse.user == "home"
    assert load(home | {"XDG_CONFIG_HOME": ""}).pulse.user == "home"
    assert load(home | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).pulse.user == "xdg"
    assert load(home | {"XDG_CONFIG_HOME": str(tmp_path / "none")}).pulse.user is None
    assert load(home | {"XDG_CONFIG_HOME": "/dev/null"}).pulse.user is None


def test_a_user_without_a_home_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert load({"FXCI_ETL_PULSE_USER": "fxci"}).pulse.user == "fxci"


OF_TODAYS_JOBS = {
    "FXCI_ETL_PULSE_USER": "fxci",
    "FXCI_ETL_PULSE_PASSWORD": "hunter2",
    "FXCI_ETL_PULSE_HOST": "127.0.0.1",
    "FXCI_ETL_PULSE_PORT": "5672",
    "FXCI_ETL_PULSE_DURABLE": "false",
    "FXCI_ETL_PULSE_TLS": "false",
    "FXCI_ETL_BIGQUERY_PROJECT": "project",
    "FXCI_ETL_BIGQUERY_DATASET": "dataset",
    "FXCI_ETL_BIGQUERY_CREDENTIALS": "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCJ9",
    "FXCI_ETL_BIGQUERY_VIEW_DATASET": "fxci",
    "FXCI_ETL_BIGQUERY_TABLES_METRICS": "worker_metrics_v1",
    "FXCI_ETL_BIGQUERY_TABLES_TASKS": "tasks_v2",
    "FXCI_ETL_BIGQUERY_TABLES_RUNS": "task_runs_v1",
    "FXCI_ETL_BIGQUERY_TABLES_TASKDEFINITIONS": "task_definitions_v1",
    "FXCI_ETL_STORAGE_PROJECT": "project",
    "FXCI_ETL_STORAGE_BUCKET": "bucket",
    "FXCI_ETL_STORAGE_CREDENTIALS": "e30=",
    "FXCI_ETL_MONITORING_CREDENTIALS": "e30=",
    "FXCI_ETL_TASKCLUSTER_ROOTURL": "https://firefox-ci-tc.services.mozilla.com",
}

OF_TODAYS_JOBS_IN_TOML = """
[pulse]
user = "fxci"
password = "hunter2"
host = "127.0.0.1"
port = 5672
durable = false
tls = false

[bigquery]
project = "project"
dataset = "dataset"
credentials = "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCJ9"
view_dataset = "fxci"

[bigquery.tables]
metrics = "worker_metrics_v1"
tasks = "tasks_v2"
runs = "task_runs_v1"
taskdefinitions = "task_definitions_v1"

[storage]
project = "project"
bucket = "bucket"
credentials = "e30="

[monitoring]
credentials = "e30="

[taskcluster]
rootUrl = "https://firefox-ci-tc.services.mozilla.com"
"""


@pytest.mark.parametrize("place", ["environment", "file"])
def test_every_name_that_exists_outside(home: dict[str, str], tmp_path: Path, place: str) -> None:
    if place == "environment":
        settings = load(home | OF_TODAYS_JOBS)
    else:
        settings = load(home, write(tmp_path / "config.toml", OF_TODAYS_JOBS_IN_TOML))
    assert settings.pulse == Pulse(
        user="fxci",
        password=Secret("hunter2"),
        host="127.0.0.1",
        port=5672,
        durable=False,
        tls=False,
    )
    assert (settings.bigquery.project, settings.bigquery.dataset) == ("project", "dataset")
    assert settings.monitoring == Monitoring(credentials=Secret("e30="))


@pytest.mark.parametrize(
    ("text", "projects"),
    [
        ("one", ("one",)),
        ("one,two", ("one", "two")),
        (" one ,\ttwo, ", ("one", "two")),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_projects_are_separated_by_commas(
    home: dict[str, str], tmp_path: Path, place: str, text: str, projects: tuple[str, ...]
) -> None:
    if place == "environment":
        settings = load(home | {"FXCI_ETL_MONITORING_PROJECTS": text})
    else:
        content = f'[monitoring]\nprojects = "{text}"\n'
        settings = load(home, write(tmp_path / "config.toml", content.replace("\t", "\\t")))
    assert settings.monitoring.projects == projects


def test_projects_are_a_list_in_a_file(home: dict[str, str], tmp_path: Path) -> None:
    config = write(tmp_path / "config.toml", '[monitoring]\nprojects = ["one", "two"]\n')
    assert load(home, config).monitoring.projects == ("one", "two")


BILLS = {
    "gcp": "my-project.billing.gcp_billing_export_resource_v1_0",
    "azure_fxci": "my-project.azure.load",
    "azure_fxci_lookup": "my-project.azure.lookup",
    "azure_taskcluster": "p2.azure.load_2",
    "azure_taskcluster_lookup": "p2.azure.lookup_2",
}


def test_the_names_of_the_bills(home: dict[str, str], tmp_path: Path) -> None:
    environment = {variable("billing", key): name for key, name in BILLS.items()}
    assert load(home | environment).billing == Billing(**BILLS)
    lines = [f'{key} = "{name}"' for key, name in BILLS.items()]
    config = write(tmp_path / "config.toml", "\n".join(["[billing]", *lines]))
    assert load(home, config).billing == Billing(**BILLS)


@pytest.mark.parametrize("key", BILLS)
@pytest.mark.parametrize(
    "name",
    [
        "table",
        "dataset.table",
        "project.dataset.table.column",
        "project..table",
        "Project.dataset.table",
        "project.dataset.table-2",
        "project.dataset.table` WHERE FALSE --",
        "project.dataset.`table`",
        "project.dataset.table; DROP TABLE tasks_v2",
        "project.dataset.ta ble",
        "project.dataset.table\nproject",
        "project.data/../set.table",
        "${worker_costs_v1}",
    ],
)
def test_a_name_that_could_be_more_than_a_name(
    home: dict[str, str], tmp_path: Path, key: str, name: str
) -> None:
    """It is put into SQL, between backticks, and names a folder."""
    what = "must be a table, as project.dataset.table"
    with pytest.raises(SettingsError) as raised:
        load(home | {variable("billing", key): name})
    assert str(raised.value) == f"{variable('billing', key)} {what}"
    config = write(tmp_path / "config.toml", f"[billing]\n{key} = {json.dumps(name)}\n")
    with pytest.raises(SettingsError) as raised:
        load(home, config)
    assert str(raised.value) == f"[billing] {key} in {config} {what}"


def test_when_tables_that_are_queries_are_built_and_checked(home: dict[str, str]) -> None:
    settings = load(
        home
        | {
            "FXCI_ETL_REBUILD_DERIVED_DAYS_SECONDS": "60.5",
            "FXCI_ETL_REBUILD_RUN_COSTS_LOOK_BACK_DAYS": "0",
            "FXCI_ETL_CHECKS_BILL_SHARE": "1",
            "FXCI_ETL_MONITORING_RETENTION_DAYS": "7",
            "FXCI_ETL_MONITORING_REQUEST_SECONDS": "0.5",
            "FXCI_ETL_MONITORING_RETRY_SECONDS": "1",
        }
    )
    assert settings.rebuild.derived_days_seconds == 60.5
    assert settings.rebuild.run_costs_look_back_days == 0
    assert settings.checks.bill_share == 1.0
    monitoring = Monitoring(retention_days=7, request_seconds=0.5, retry_seconds=1.0)
    assert settings.monitoring == monitoring


def test_the_sandbox_and_the_first_day(home: dict[str, str], tmp_path: Path) -> None:
    settings = load(
        home
        | {
            "FXCI_DEPLOYMENT": "local",
            "FXCI_START_DATE": "2018-01-01",
            "FXCI_SANDBOX_DIR": "some/where",
            "FXCI_SANDBOX_TASKS_PER_DAY": "50",
            "FXCI_SANDBOX_SEED": "7",
            "FXCI_SANDBOX_DAYS": "0",
        }
    )
    assert settings.deployment == "local"
    assert settings.start_date == dt.date(2018, 1, 1)
    # Dagster changes the working directory; the state stays where it was.
    assert settings.sandbox_dir == Path.cwd() / "some/where"
    assert load(home | {"FXCI_SANDBOX_DIR": str(tmp_path)}).sandbox_dir == tmp_path
    assert (settings.sandbox_tasks_per_day, settings.sandbox_seed) == (50, 7)
    assert settings.sandbox_days == 0


@pytest.mark.parametrize(
    ("text", "tls"),
    [("false", False), ("False", False), ("0", False), ("true", True), ("TRUE", True), ("1", True)],
)
def test_tls_is_a_boolean(home: dict[str, str], text: str, tls: bool) -> None:
    assert load(home | {"FXCI_ETL_PULSE_TLS": text}).pulse.tls is tls


def test_an_empty_variable_is_as_if_it_were_not_set(home: dict[str, str]) -> None:
    names = [*OF_TODAYS_JOBS, "FXCI_DEPLOYMENT", "FXCI_START_DATE", "FXCI_SANDBOX_DIR"]
    assert load(home | dict.fromkeys(names, "")) == load(home)


def test_blanks_around_a_value_are_not_part_of_it(home: dict[str, str]) -> None:
    """A secret that was mounted as a file ends in a line break."""
    pulse = load(home | {"FXCI_ETL_PULSE_PASSWORD": "hunter2\n"}).pulse
    assert pulse.password == Secret("hunter2")


def test_unknown_names_are_ignored(home: dict[str, str], tmp_path: Path) -> None:
    unknown = {"FXCI_ETL_PULSE_VHOST": "/", "FXCI_ETL_": "x", "FXCI_ETL_OLD_KEY": "x"}
    config = write(tmp_path / "c.toml", 'top = 1\n[pulse]\nvhost = "/"\n[old]\nkey = 1\n')
    assert load(home | unknown, config) == load(home)


WRONG = [
    ("FXCI_DEPLOYMENT", "staging", "must be sandbox or local or production"),
    ("FXCI_START_DATE", "yesterday", "must be a date such as 2024-07-08"),
    ("FXCI_SANDBOX_TASKS_PER_DAY", "0", "must be a whole number above 0"),
    ("FXCI_SANDBOX_DAYS", "-1", "must be days, 0 to 36500"),
    ("FXCI_SANDBOX_SEED", "seed", "must be a whole number"),
    ("FXCI_ETL_PULSE_PORT", "amqps", "must be a port, 1 to 65535"),
    ("FXCI_ETL_PULSE_PORT", "-5672", "must be a port, 1 to 65535"),
    ("FXCI_ETL_PULSE_TLS", "hunter2", "must be true or false"),
    *(
        ("FXCI_ETL_PULSE_HOST", host, "must be a host's name or address alone")
        for host in ("amqps://fxci:hunter2@pulse.mozilla.org", "fxci@localhost", "a b", "memory://")
    ),
    *(
        (
            "FXCI_ETL_TASKCLUSTER_ROOTURL",
            address,
            "must be an address that begins with https://, without a user, a password or a query",
        )
        for address in (
            "https://fxci:hunter2@firefox-ci-tc.services.mozilla.com",
            "http://fxci:hunter2/@localhost",
            "https://localhost/?token=hunter2",
            "ftp://localhost",
            "firefox-ci-tc.services.mozilla.com",
        )
    ),
    ("FXCI_ETL_DRAIN_BATCH_MESSAGES", "0", "must be a whole number above 0"),
    ("FXCI_ETL_STORAGE_RETENTION_DAYS", "34", "must be days, 35 to 36500"),
    ("FXCI_ETL_DRAIN_MAX_SECONDS", "nan", "must be seconds above 0, up to 1e9"),
    ("FXCI_ETL_REBUILD_RUN_LIMIT_SECONDS", "1e300", "must be seconds above 0, up to 1e9"),
    ("FXCI_ETL_CHECKS_EXCEPTION_SHARE", "90", "must be a number from 0 to 1"),
    ("FXCI_ETL_CHECKS_BILL_SHARE", "98%", "must be a number from 0 to 1"),
    ("FXCI_ETL_CHECKS_BILL_SHARE", "-0.1", "must be a number from 0 to 1"),
    ("FXCI_ETL_MONITORING_PROJECTS", ",", "must be names, separated by commas"),
    ("FXCI_ETL_MONITORING_PROJECTS", " ", "must be names, separated by commas"),
    ("FXCI_ETL_MONITORING_RETENTION_DAYS", "-1", "must be days, 0 to 36500"),
    ("FXCI_ETL_MONITORING_REQUEST_SECONDS", "0", "must be seconds above 0, up to 1e9"),
    ("FXCI_ETL_MONITORING_RETRY_SECONDS", "never", "must be seconds above 0, up to 1e9"),
    ("FXCI_ETL_REBUILD_DERIVED_DAYS_SECONDS", "0", "must be seconds above 0, up to 1e9"),
    ("FXCI_ETL_REBUILD_RUN_COSTS_LOOK_BACK_DAYS", "-1", "must be days, 0 to 30"),
    ("FXCI_ETL_REBUILD_RUN_COSTS_LOOK_BACK_DAYS", "31", "must be days, 0 to 30"),
    ("FXCI_ETL_REBUILD_RUN_COSTS_LOOK_BACK_DAYS", "1.5", "must be days, 0 to 30"),
]


@pytest.mark.parametrize(("name", "value", "what"), WRONG)
def test_a_wrong_value_is_told_by_its_variable(
    home: dict[str, str], name: str, value: str, what: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(home | {name: value})
    assert str(raised.value) == f"{name} {what}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[pulse]\nport = 'hunter2'", "[pulse] port in {file} must be a port, 1 to 65535"),
        ("[pulse]\nuser = 71077345", "[pulse] user in {file} must be text"),
        ("[pulse]\npassword = 71077345", "[pulse] password in {file} must be text"),
        ("[pulse]\npassword = ['hunter2']", "[pulse] password in {file} must be text"),
        ("[pulse]\ntls = 'hunter2'", "[pulse] tls in {file} must be true or false"),
        ("[monitoring]\ncredentials = 71077345", "[monitoring] credentials in {file} must be text"),
        (
            "[monitoring]\nprojects = []",
            "[monitoring] projects in {file} must be names, separated by commas",
        ),
        (
            "[monitoring]\nprojects = ['one', '']",
            "[monitoring] projects in {file} must be names, separated by commas",
        ),
        (
            "[monitoring]\nprojects = [1]",
            "[monitoring] projects in {file} must be names, separated by commas",
        ),
        (
            "[billing]\ngcp = ['project.dataset.table']",
            "[billing] gcp in {file} must be a table, as project.dataset.table",
        ),
    ],
)
@pytest.mark.parametrize("explicit", [True, False])
def test_a_wrong_value_is_told_by_its_file(
    home: dict[str, str], tmp_path: Path, content: str, what: str, explicit: bool
) -> None:
    file = write(tmp_path / "home/.config/fxci-etl/config.toml", content)
    with pytest.raises(SettingsError) as raised:
        load(home, file if explicit else None)
    assert str(raised.value) == what.format(file=file)


def test_a_file_that_cannot_be_used(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^There is no configuration file .*none\.toml$"):
        load(home, tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"^.* cannot be read: Is a directory$"):
        load(home, tmp_path)
    with pytest.raises(SettingsError, match=r"^.*broken\.toml is not TOML: .*$") as raised:
        load(home, write(tmp_path / "broken.toml", "[pulse]\npassword = hunter2\n"))
    assert "hunter2" not in str(raised.value)
    (tmp_path / "latin.toml").write_bytes(b"[pulse]\npassword = '\xff'\n")
    with pytest.raises(SettingsError, match=r"latin\.toml is not TOML: it is not UTF-8$"):
        load(home, tmp_path / "latin.toml")


IN_PRODUCTION = {
    "FXCI_ETL_PULSE_TLS": "FXCI_ETL_PULSE_TLS (or [pulse] tls) must be true in production: "
    "its host is another machine",
    "FXCI_ETL_TASKCLUSTER_ROOTURL": "FXCI_ETL_TASKCLUSTER_ROOTURL (or [taskcluster] rootUrl) must "
    "begin with https:// in production",
    "STORAGE_EMULATOR_HOST": "STORAGE_EMULATOR_HOST must not be set in production",
    "BIGQUERY_EMULATOR_HOST": "BIGQUERY_EMULATOR_HOST must not be set in production",
}
"""What is refused, by what is set."""


def sent_to(name: str, host: str) -> dict[str, str]:
    """A setting with which something goes in clear text to a host."""
    if name == "FXCI_ETL_PULSE_TLS":
        return {name: "false", "FXCI_ETL_PULSE_HOST": host}
    return {name: f"http://{host}:8080/"}


@pytest.mark.parametrize("name", IN_PRODUCTION)
@pytest.mark.parametrize(
    "host", ["taskcluster.example", "10.0.0.1", "[2001:db8::1]", "127.0.0.1.example"]
)
def test_nothing_of_production_goes_in_clear_text_to_another_machine(
    home: dict[str, str], name: str, host: str
) -> None:
    environment = home | sent_to(name, host)
    load(environment | {"FXCI_DEPLOYMENT": "local"})
    with pytest.raises(SettingsError) as raised:
        load(environment | {"FXCI_DEPLOYMENT": "production"})
    assert str(raised.value) == IN_PRODUCTION[name]


@pytest.mark.parametrize("name", IN_PRODUCTION)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_what_stands_in_on_the_same_machine_may(home: dict[str, str], name: str, host: str) -> None:
    load(home | sent_to(name, host) | {"FXCI_DEPLOYMENT": "production"})


@pytest.mark.parametrize(
    "address",
    ["storage.example:4443", "https://storage.example", "http://127.0.0.1@storage.example"],
)
def test_however_another_server_than_googles_is_named(home: dict[str, str], address: str) -> None:
    with pytest.raises(SettingsError):
        load(home | {"FXCI_DEPLOYMENT": "production", "STORAGE_EMULATOR_HOST": address})


SECRET = Secret("hunter2")


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        "%s" % SECRET,  # noqa: UP031
        repr([SECRET]),
        repr(Pulse(password=SECRET)),
        repr(Settings(pulse=Pulse(password=SECRET))),
        repr(Monitoring(credentials=SECRET)),
    ],
)
def test_a_secret_is_never_shown(shown: str) -> None:
    assert "hunter2" not in shown
    assert "Secret(***)" in shown


def test_a_secret_is_never_written() -> None:
    settings = Settings(pulse=Pulse(password=SECRET))
    for value in (SECRET, settings, Monitoring(credentials=SECRET)):
        for write in (msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as raised:
                write(value)
            assert "hunter2" not in str(raised.value)
    assert not hasattr(SECRET, "__dict__")


def test_secrets_compare() -> None:
    assert Secret("hunter2") == SECRET
    assert Secret("hunter3") != SECRET
    assert SECRET != "hunter2"
    assert {SECRET, Secret("hunter2")} == {SECRET}
    assert SECRET.reveal() == "hunter2"


def test_what_is_needed_and_not_set_is_named() -> None:
    assert require("fxci", "pulse", "user") == "fxci"
    with pytest.raises(SettingsError) as raised:
        require(None, "pulse", "user")
    assert str(raised.value) == (
        "FXCI_ETL_PULSE_USER is not set (nor is [pulse] user in a configuration file)"
    )
    assert variable("drain", "max_seconds") == "FXCI_ETL_DRAIN_MAX_SECONDS"


# What the environment can hold: anything but NUL.
VALUES = st.text(st.characters(exclude_characters="\0"), max_size=30) | st.one_of(
    st.integers().map(str), st.floats().map(str), st.booleans().map(str), st.dates().map(str)
)
WRONG_NAMES = [name for name, _, _ in WRONG]
BILL_NAMES = [variable("billing", key) for key in BILLS]
NAMES = st.sampled_from([*OF_TODAYS_JOBS, *BILL_NAMES, *WRONG_NAMES, "FXCI_SANDBOX_DIR"])


@given(st.dictionaries(NAMES, VALUES))
@example({"FXCI_SANDBOX_SEED": "9" * 5_000})
@example({"FXCI_ETL_PULSE_PASSWORD": "null"})
def test_any_environment_loads_or_is_refused_in_one_line(environment: dict[str, str]) -> None:
    try:
        settings = load(environment | {"HOME": "/nowhere"})
    except SettingsError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).split()[0] in environment
    else:
        assert settings.run_limit > dt.timedelta(0)
        assert settings.sandbox_dir.is_absolute()
        password = environment.get("FXCI_ETL_PULSE_PASSWORD")
        assert settings.pulse.password == (Secret(password.strip()) if password else None)
        assert settings.monitoring.projects
        assert all(settings.monitoring.projects)
        assert "`" not in settings.billing.gcp
