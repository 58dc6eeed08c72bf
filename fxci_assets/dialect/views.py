"""What a query names in its FROM clauses: its own CTEs, tables and views.

Here belongs which of these a name is. A view is replaced by its query before anything else is
looked at, so that BigQuery's rules hold for the tables behind it. What tables have is
`fxci_assets.dialect.scopes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from fxci_assets.dialect.errors import DialectError, unsupported
from fxci_assets.dialect.parse import parse

BEHIND = "behind_view"
"""The metadata of a table in the tree that names the view by which the query reads it."""


def key_of(table: exp.Table) -> str:
    """`dataset.table`. A project in front says nothing: there is one warehouse."""
    return f"{table.db}.{table.name}" if table.db else table.name


class Views:
    """Replaces references to views in a tree; raises if a name is neither that nor a table's."""

    def __init__(self, views: Mapping[str, str], tables: Iterable[str]) -> None:
        self._views = views
        self._tables = frozenset(tables)

    def expand(
        self, node: exp.Expr, ctes: frozenset[str] = frozenset(), within: tuple[str, ...] = ()
    ) -> None:
        """`ctes` are the CTEs that the node sees, `within` the views that it is part of."""
        with_ = node.args.get("with_")
        for cte in with_.expressions if with_ else ():
            self.expand(cte.this, ctes, within)
            ctes |= {cte.alias.lower()}
        # A list, as the children are replaced meanwhile.
        for child in list(node.iter_expressions()):
            if child is not with_:
                self.expand(child, ctes, within)
        if isinstance(node, exp.Table) and (node.db or node.name.lower() not in ctes):
            self._named(node, within)

    def _named(self, table: exp.Table, within: tuple[str, ...]) -> None:
        key = key_of(table)
        is_name = isinstance(table.this, exp.Identifier)
        if is_name and table.db and key in self._tables:
            if within:
                table.meta[BEHIND] = within[0]
        elif is_name and key in self._views:
            if not isinstance(table.parent, exp.From | exp.Join):
                raise unsupported(f"({key}) in parentheses")
            table.replace(self._rows_of(key, table, within))
        else:
            known = ", ".join(sorted({*self._tables, *self._views}))
            where = f" in the view {within[-1]}" if within else ""
            raise DialectError(
                f"Unknown table {key or table.sql()}{where}; the known ones are {known}"
            )

    def _rows_of(self, key: str, table: exp.Table, within: tuple[str, ...]) -> exp.Subquery:
        if key in within:
            raise DialectError(f"The view {key} refers to itself")
        query = self._query(key)
        self.expand(query, within=(*within, key))
        # Whatever else stands beside the name is for others to allow or refuse.
        parts = {k: v for k, v in table.args.items() if k not in ("this", "db", "catalog")}
        if not parts.get("alias"):
            parts["alias"] = exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        return exp.Subquery(this=query, **parts)

    def _query(self, key: str) -> exp.Query:
        try:
            query = parse(self._views[key])
        except DialectError as error:
            raise DialectError(f"The view {key}: {error}") from error
        if query.find(exp.Parameter):
            raise DialectError(f"The view {key} has a parameter, which BigQuery does not allow")
        return query
