"""What can be set, by section, and where it is read from.

An explicit configuration file beats the environment (`FXCI_ETL_<SECTION>_<KEY>`), which beats
`$XDG_CONFIG_HOME/fxci-etl/config.toml`, which beats the defaults. The names of the sections
pulse, bigquery, storage, monitoring and taskcluster and of most of their keys exist outside this
project and stay. What a setting is
used for does not belong here; a command calls `require` for what it needs before it does anything.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import tomllib
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar, get_args, get_origin

import msgspec

Deployment = Literal["sandbox", "local", "production"]

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535, description="a port, 1 to 65535")]
Count = Annotated[int, msgspec.Meta(ge=1, description="a whole number above 0")]
# Bounded so that the calendar has a day so long ago.
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500, description="days, 0 to 36500")]
# No less than a microsecond: a time span of less would be none.
Seconds = Annotated[float, msgspec.Meta(ge=1e-6, le=1e9, description="seconds above 0, up to 1e9")]
Identifier = Annotated[
    str, msgspec.Meta(pattern=r"^\w+$", description="a name of letters, digits and underscores")
]
ProjectName = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*$", description="the id of a GCP project")
]
TableName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9-]*\.\w+\.\w+$", description="a table, as project.dataset.table"
    ),
]
# Errors name hosts and addresses; one with a user and a password in it would be shown with them.
Host = Annotated[
    str, msgspec.Meta(pattern=r"^[\w.:\[\]-]+$", description="a host's name or address alone")
]
RootUrl = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^https?://[\w.:\[\]-]+(/[^\s@?#]*)?$",
        description="an address that begins with https://, without a user, a password or a query",
    ),
]
Names = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1)], ...],
    msgspec.Meta(min_length=1, description="names, separated by commas"),
]
Share = Annotated[float, msgspec.Meta(ge=0, le=1, description="a number from 0 to 1")]

Value = TypeVar("Value")


class SettingsError(Exception):
    """A setting is missing, or not what it should be. One line, for the person who sets it."""


class Secret:
    """A value that is never shown: not in a repr, a log or a message."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """The AMQP server with Taskcluster's messages."""

    user: str | None = None
    password: Secret | None = None
    host: Host = "pulse.mozilla.org"
    port: Port = 5671
    durable: bool = True
    tls: bool = True


class BigQueryTables(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables that the old job fills are called; by its own words for them."""

    metrics: Identifier = "worker_metrics_v1"
    tasks: Identifier = "tasks_v2"
    runs: Identifier = "task_runs_v1"
    taskdefinitions: Identifier = "task_definitions_v1"


class BigQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The warehouse, and its names: these are the same in a local folder."""

    project: ProjectName = "moz-fx-data-shared-prod"
    dataset: Identifier = "fxci_derived"
    credentials: Secret | None = None
    tables: BigQueryTables = BigQueryTables()
    # Unset, the views are left alone: a second deployment must not move the public ones.
    view_dataset: Identifier | None = None
    # Others may deploy the tables; then one that is missing is an error.
    create_tables: bool = True
    # Of a query that somebody asks; a table is built whatever it costs.
    maximum_bytes_billed: Count = 1_000_000_000_000


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """The bucket of the archive, which the old job leaves files in too."""

    project: ProjectName | None = None
    bucket: str | None = None
    prefix: str = "fxci-assets"
    credentials: Secret | None = None
    # Bodies name users. Unset, all is kept; bills change for a month, and follow from runs.
    retention_days: (
        Annotated[int, msgspec.Meta(ge=35, le=36_500, description="days, 35 to 36500")] | None
    ) = None


class Taskcluster(msgspec.Struct, frozen=True, kw_only=True):
    """The queue's API, for the definitions and states of tasks."""

    # Its name outside is rootUrl; here, case does not matter.
    rooturl: RootUrl = "https://firefox-ci-tc.services.mozilla.com"
    request_seconds: Seconds = 60.0


class Monitoring(msgspec.Struct, frozen=True, kw_only=True):
    """Cloud Monitoring, which knows how long the GCP workers were up."""

    # The GCP projects in which workers are: whose uptime is fetched, and whose bill is read.
    projects: Names = ("fxci-production-level1-workers", "fxci-production-level3-workers")
    credentials: Secret | None = None
    # It forgets after six weeks; what is older is read from the archive only.
    retention_days: Days = 40
    request_seconds: Seconds = 60.0
    retry_seconds: Seconds = 600.0


_GCP_BILLING = "moz-fx-data-shared-prod.billing_syndicate"
_AZURE_BILLING = "moz-fx-data-shared-prod.azure_billing_syndicate"


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """What the clouds' billing exports are called; each is a source of `tables.billing`."""

    gcp: TableName = f"{_GCP_BILLING}.gcp_billing_export_resource_v1_01E7D5_97288E_E2EBA0"
    azure_fxci: TableName = f"{_AZURE_BILLING}.fxci_daily_actual_load"
    azure_fxci_lookup: TableName = f"{_AZURE_BILLING}.fxci_daily_actual_lookup"
    azure_taskcluster: TableName = f"{_AZURE_BILLING}.taskcluster_daily_actual_load"
    azure_taskcluster_lookup: TableName = f"{_AZURE_BILLING}.taskcluster_daily_actual_lookup"


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are read: when a batch is filed, and when a drain ends."""

    batch_messages: Count = 5_000
    batch_bytes: Count = 16_000_000
    batch_seconds: Seconds = 5.0
    max_messages: Count = 2_000_000
    max_seconds: Seconds = 600.0
    # PulseGuardian warns at 2,000 messages in a queue and deletes it at 8,000.
    queue_warning: Count = 2_000


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """When days are built again."""

    run_limit_seconds: Seconds = 3_600.0
    window_days: Annotated[int, msgspec.Meta(ge=1, le=36_500, description="days, 1 to 36500")] = 35
    older_days_seconds: Seconds = 3_600.0
    # Tables that are queries over others: beside their schedules.
    derived_days_seconds: Seconds = 21_600.0
    # The days before a run's for whose changed costs its cost is worked out again.
    run_costs_look_back_days: Annotated[
        int, msgspec.Meta(ge=0, le=30, description="days, 0 to 30")
    ] = 30
    max_attempts: Count = 3


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """When a check fails."""

    quarantine_per_day: Annotated[int, msgspec.Meta(ge=0, description="a whole number")] = 50
    exception_share: Share = 0.10
    data_age_seconds: Seconds = 7_200.0
    bill_share: Share = 0.98


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set."""

    deployment: Deployment = "sandbox"
    start_date: dt.date = dt.date(2024, 7, 8)
    sandbox_dir: Path = Path(".sandbox")
    sandbox_tasks_per_day: Count = 2_000
    sandbox_seed: int = 1
    sandbox_days: Days = 7
    pulse: Pulse = Pulse()
    bigquery: BigQuery = BigQuery()
    storage: Storage = Storage()
    taskcluster: Taskcluster = Taskcluster()
    monitoring: Monitoring = Monitoring()
    billing: Billing = Billing()
    drain: Drain = Drain()
    rebuild: Rebuild = Rebuild()
    checks: Checks = Checks()

    def window(self, today: dt.date) -> dt.date:
        """The first of the last days that sensors and checks look at."""
        return today - dt.timedelta(days=self.rebuild.window_days - 1)

    @property
    def retention(self) -> dt.timedelta | None:
        """For how long messages are kept."""
        days = self.storage.retention_days
        return None if days is None else dt.timedelta(days=days)

    @property
    def rest(self) -> dt.timedelta:
        """Between two builds of a day to which messages trickle in."""
        return dt.timedelta(seconds=self.rebuild.older_days_seconds)

    @property
    def run_limit(self) -> dt.timedelta:
        """How long a rebuild may take before it counts as dead."""
        return dt.timedelta(seconds=self.rebuild.run_limit_seconds)


_PLAIN = {
    "deployment": "FXCI_DEPLOYMENT",
    "start_date": "FXCI_START_DATE",
    "sandbox_dir": "FXCI_SANDBOX_DIR",
    "sandbox_tasks_per_day": "FXCI_SANDBOX_TASKS_PER_DAY",
    "sandbox_seed": "FXCI_SANDBOX_SEED",
    "sandbox_days": "FXCI_SANDBOX_DAYS",
}


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"FXCI_ETL_{section}_{key}".upper()


def default_config_file(environment: Mapping[str, str]) -> Path | None:
    """Where a configuration file is looked for; None for a user without a home."""
    try:
        home = Path(environment.get("HOME") or Path.home())
    except RuntimeError:
        # A container's user may be a number only, which has neither $HOME nor an entry in passwd.
        home = None
    folder = environment.get("XDG_CONFIG_HOME") or (home and home / ".config")
    return Path(folder) / "fxci-etl" / "config.toml" if folder else None


def load(environment: Mapping[str, str] = os.environ, config: Path | None = None) -> Settings:
    """The settings in force. Raises SettingsError.

    `config` is a file that was named explicitly, and must be there. Unknown variables, sections
    and keys are ignored: the jobs that run today set some that are no longer used.
    """
    explicit = _read(config, must_exist=True) if config else {}
    default = default_config_file(environment)
    implicit = _read(default, must_exist=False) if default else {}
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name in _PLAIN:
            name = _PLAIN[field.name]
            if environment.get(name):
                values[field.name] = _convert(environment[name], field.type, name)
            continue
        sources = ((explicit, config), (environment, None), (implicit, default))
        values[field.name] = _section(field.type, (field.name,), sources)
    settings = Settings(**values)  # type: ignore[arg-type]
    if settings.deployment == "production":
        _refuse_clear_text(settings, environment)
    return msgspec.structs.replace(settings, sandbox_dir=settings.sandbox_dir.absolute())


_STAND_INS = ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
"""Variables that make Google's clients, and ours, talk to another server instead of Google's."""


def _refuse_clear_text(settings: Settings, environment: Mapping[str, str]) -> None:
    """On the way somebody could read the password and change the answers, or be the server. What
    stands in for a system on the same machine has no such way; the tests' do."""
    pulse, taskcluster = settings.pulse, settings.taskcluster
    if not pulse.tls and not _on_this_machine(f"//{pulse.host}"):
        name = f"{variable('pulse', 'tls')} (or [pulse] tls)"
        raise SettingsError(f"{name} must be true in production: its host is another machine")
    if taskcluster.rooturl.startswith("http:") and not _on_this_machine(taskcluster.rooturl):
        name = f"{variable('taskcluster', 'rooturl')} (or [taskcluster] rootUrl)"
        raise SettingsError(f"{name} must begin with https:// in production")
    for name in _STAND_INS:
        address = environment.get(name)
        if address and not _on_this_machine(address if "://" in address else f"//{address}"):
            raise SettingsError(f"{name} must not be set in production")


def _on_this_machine(url: str) -> bool:
    try:
        host = urllib.parse.urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Source = tuple[Mapping[str, object], Path | None]
"""A configuration file's content and where it is; the environment is no file."""


def _section(
    type: type[msgspec.Struct], name: tuple[str, ...], sources: Sequence[Source]
) -> msgspec.Struct:
    """A section, from the first of the sources that has each setting."""
    found: dict[str, object] = {}
    for setting in msgspec.structs.fields(type):
        if isinstance(setting.default, msgspec.Struct):
            inner = setting.default.__class__
            found[setting.name] = _section(inner, (*name, setting.name), sources)
            continue
        for content, file in sources:
            full = variable("_".join(name), setting.name)
            value = _get(content, (*name, setting.name)) if file else content.get(full) or None
            if value is not None:
                label = f"[{'.'.join(name)}] {setting.name} in {file}" if file else full
                found[setting.name] = _convert(value, setting.type, label)
                break
    return type(**found)


def _read(path: Path, *, must_exist: bool) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            raise SettingsError(f"There is no configuration file {path}") from None
        return {}
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not TOML: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _get(config: Mapping[str, object], name: Sequence[str]) -> object:
    """What stands in a file under some keys, one in the other. Case does not matter: rootUrl."""
    content: object = config
    for key in name:
        if not isinstance(content, dict):
            return None
        content = next((value for k, value in content.items() if k.lower() == key), None)
    return content


def _hook(type: type, value: object) -> object:
    if type is Secret and isinstance(value, str):
        return Secret(value)
    if issubclass(type, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError


def _convert(value: object, type: object, name: str) -> object:
    if isinstance(value, str):
        # Blanks can be part of a secret, but not the line break of the file it was mounted as.
        secret = Secret in (type, *get_args(type))
        value = value.strip("\r\n") if secret else value.strip()
        if type is Names:
            value = [name.strip() for name in value.split(",") if name.strip()]
    try:
        return msgspec.convert(value, type, strict=False, dec_hook=_hook)
    except (msgspec.ValidationError, NotImplementedError):
        # The value itself is not shown: it may be a secret.
        raise SettingsError(f"{name} must be {_expected(type)}") from None


def _expected(type: object) -> str:
    for part in (type, *get_args(type)):  # it may be one of several, with None
        if get_origin(part) is Annotated:
            _, meta = get_args(part)
            return str(meta.description)
    if get_origin(type) is Literal:
        return " or ".join(get_args(type))
    names = {int: "a whole number", bool: "true or false", dt.date: "a date such as 2024-07-08"}
    return names.get(type, "text")  # type: ignore[call-overload, no-any-return]


def require(value: Value | None, section: str, key: str) -> Value:
    """The value of a setting that is needed. Raises SettingsError, one line, if it is not set."""
    if value is None:
        name = variable(section, key)
        raise SettingsError(f"{name} is not set (nor is [{section}] {key} in a configuration file)")
    return value
