"""`make docs`: writes docs/cli.md, the help of every command; a test fails when it is stale.

Only what the commands say of themselves belongs there: what is wrong in it is mended in
`fxci_assets.cli`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from fxci_assets.cli import main

FILE = Path(__file__).parents[1] / "docs" / "cli.md"

_HEAD = """\
# The command line

Made by `make docs` from the commands; change their help, not this file. Options that every
command takes may stand before or after its name. The exit code is 0 when the work was done, 1 when
something failed, 2 for a command that cannot be understood; errors go to standard error.
"""


def contexts(
    command: click.Command = main, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Every command and group, each before what is in it, as if called in 80 columns."""
    name = "fxci-etl" if parent is None else command.name
    context = click.Context(
        command, parent, info_name=name, terminal_width=80, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from contexts(found, context)


def reference() -> str:
    parts = [_HEAD]
    for context in contexts():
        title = context.command_path.replace(" [OPTIONS]", "")
        parts.append(f"## {title}\n\n```\n{context.get_help().rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference())
