"""The frame of a command line: what every command shares, and how it speaks to people.

Here belong options that all commands take, what is said where, and how an error is told: in one
line, with the exit code for it. What the commands are, and anything that they know of the pipeline,
is `fxci_assets.cli`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, ParamSpec, TypeVar

import click

from fxci_assets import texts

if TYPE_CHECKING:
    from fxci_assets.settings import Settings

_log = logging.getLogger(__name__)

DAY = click.DateTime(["%Y-%m-%d"])
"""The type of an option that is a UTC day."""

P = ParamSpec("P")
R = TypeVar("R")

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class Context:
    """What was said before and after the command: options of both places count."""

    def __init__(self) -> None:
        self.verbosity = 0
        self.config: Path | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        from fxci_assets.settings import load

        return load(config=self.config)

    def configure_logging(self) -> None:
        own = {0: logging.WARNING, 1: logging.INFO}.get(self.verbosity, logging.DEBUG)
        # Other libraries speak only at -vvv, and never at DEBUG: there, py-amqp prints frames.
        others = logging.INFO if self.verbosity > 2 else logging.WARNING
        handler = logging.StreamHandler()
        formatter = Visible if self.verbosity > 1 else WithoutTraceback
        handler.setFormatter(formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=others, handlers=[handler])
        logging.getLogger("fxci_assets").setLevel(own)


class Visible(logging.Formatter):
    """A line for each record, whatever others wrote that is in it; a traceback has its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return texts.visible(super().formatMessage(record))

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802
        return texts.visible_lines(super().formatException(ei))


class WithoutTraceback(Visible):
    """One line for each record; who wants to know where it happened says -vv."""

    def formatException(self, ei: object) -> str:  # noqa: N802
        return ""


def _set_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).config = value


def _add_verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    ctx.ensure_object(Context).verbosity += value


def common(command: Callable[P, R]) -> Callable[P, R]:
    """The options that every command takes, before or after its name."""
    command = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        callback=_set_config,
        help="A TOML file with settings; it beats the environment.",
    )(command)
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_add_verbosity,
        help="Say more: -v, -vv or -vvv.",
    )(command)


class UsageInOneLine(click.UsageError):
    """A command that cannot be understood, told like every other error."""

    def show(self, file: IO[str] | None = None) -> None:
        command = self.ctx.command_path if self.ctx else "fxci-etl"
        click.echo(f"fxci-etl: {self.format_message()} (see {command} --help)", file, err=True)

    @classmethod
    @contextlib.contextmanager
    def instead(cls) -> Iterator[None]:
        try:
            yield
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise cls(error.format_message(), error.ctx) from error


class Group(click.Group):
    """A group whose commands take the common options, and fail in one line."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        with UsageInOneLine.instead():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        if ctx.parent is not None:
            return super().invoke(ctx)
        try:
            with UsageInOneLine.instead():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.ensure_object(Context).verbosity > 1:
                _log.debug("the whole error", exc_info=True)
            click.echo(f"fxci-etl: {one_line(error)}", err=True)
            ctx.exit(1)


def one_line(error: Exception) -> str:
    """An error for the person who reads it; errors of others with their type."""
    text = texts.one_line(error) or "no further explanation"
    ours = type(error).__module__.startswith("fxci_assets")
    return text if ours else f"{type(error).__name__}: {text}"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """A line about work that goes on where nobody reads it any more, as in `… | head -1`."""
    try:
        click.echo(text, err=err, nl=nl)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def example_of(command: str) -> str:
    """The end of a help; after \\b it is not wrapped, so that it can be pasted."""
    return f"Example:\n\n\b\n  {command}"


class TakesSql(click.Command):
    """A command whose argument may begin with a comment, as the files in docs/queries do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # No option has a blank in its name; what begins with one is no option.
        return super().parse_args(ctx, [f" {a}" if re.match(r"--[^=]*\s", a) else a for a in args])


def command(
    group: click.Group, name: str, *, example: str, cls: type[click.Command] = click.Command
) -> Callable[[Callable[..., None]], click.Command]:
    """A command of a group, with the common options and an example in its help."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(**options: object) -> None:
            context = click.get_current_context().ensure_object(Context)
            context.configure_logging()
            function(context, **options)

        # Given as short_help, the sentence is not cut off.
        sentence = (function.__doc__ or "").partition("\n")[0]
        make = group.command(name, cls=cls, short_help=sentence, epilog=example_of(example))
        return make(common(run))

    return decorate


def fail_with(errors: Sequence[str]) -> None:
    """Tell what failed, and end the command, if anything did."""
    for error in dict.fromkeys(errors):  # one for all that it was in the way of
        say(f"fxci-etl: {error}", err=True)
    if errors:
        sys.exit(1)


class Progress:
    """On a terminal a line that is rewritten; otherwise a plain line now and then."""

    def __init__(self, every_seconds: float = 10.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else every_seconds
        self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._terminal and self._shown:
            say("\r\033[K", nl=False, err=True)

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        self._shown = True
        say(f"\r{line}\033[K" if self._terminal else line, nl=not self._terminal, err=True)
