"""Which tables a query scans, under which names, and whether each scan has a partition filter.

Here belong the resolution of column names, and BigQuery's rule that a scan of a partitioned table
needs a filter on its partition column. Filters are pushed down as far as is certain: through
subqueries, views and CTEs that pass the column on unchanged. A doubtful one does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from fxci_assets.dialect.errors import DialectError, PartitionFilterError, unsupported
from fxci_assets.dialect.views import BEHIND, key_of


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """A table as a query sees it. Without a partition column it may be scanned without a filter."""

    columns: tuple[str, ...]
    partition_column: str | None = None


Catalog = Mapping[str, CatalogTable]
"""The tables that a query may name, by `dataset.table`."""

_Environment = Mapping[str, "_Derived"]


@dataclass(frozen=True, slots=True)
class _Derived:
    """A query with a name, and the CTEs that it sees."""

    query: exp.Expr
    visible: _Environment


@dataclass(frozen=True, slots=True)
class _Scan:
    """A table that is read, by way of a view or not."""

    table: str
    partition_column: str | None
    view: str | None


@dataclass(slots=True)
class _Source:
    """Something in a FROM clause. `columns` are lower case; None where they are not known."""

    name: str
    columns: tuple[str, ...] | None
    of: _Scan | _Derived | None
    may_be_absent: bool = False


def own(node: exp.Expr) -> Iterator[exp.Expr]:
    """The expression and what it consists of, without the queries inside it."""
    yield node
    for child in node.iter_expressions():
        if not isinstance(child, exp.Query):
            yield from own(child)


def selection(select: exp.Select) -> list[tuple[str, exp.Expr]]:
    """The SELECT list as pairs of output name ('' if it has none) and expression."""
    return [
        (item.alias_or_name.lower(), item.this if isinstance(item, exp.Alias) else item)
        for item in select.expressions
    ]


def is_star(item: exp.Expr) -> bool:
    return isinstance(item, exp.Star) or (
        isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
    )


class Scopes:
    """Walks all the queries of a statement, in which every name is a table's or a CTE's; raises if
    a filter is missing."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._used: set[int] = set()
        self.columns: dict[int, frozenset[str] | None] = {}
        """By id of a SELECT: the names its FROM clause provides, None where one is not known."""

    def may_be_column(self, name: str) -> bool:
        """Whether any FROM clause provides a column of that name, for all that is known."""
        return any(columns is None or name in columns for columns in self.columns.values())

    def check(
        self,
        query: exp.Expr,
        environment: _Environment | None = None,
        filtered: frozenset[str] = frozenset(),
    ) -> None:
        """`filtered` are the output columns that the outer query compares with a constant."""
        visible, defined = self._with(query, environment or {})
        if isinstance(query, exp.Subquery):
            self.check(query.this, visible, filtered if not _is_cut(query) else frozenset())
        elif isinstance(query, exp.SetOperation):
            self._set_operation(query, visible, filtered)
        elif isinstance(query, exp.Select):
            self._select(query, visible, filtered)
        else:
            raise unsupported(f"{query.key.upper()}", "only SELECT is")
        for derived in defined:
            if id(derived) not in self._used:
                self.check(derived.query, derived.visible)

    def _with(
        self, query: exp.Expr, environment: _Environment
    ) -> tuple[_Environment, list[_Derived]]:
        with_ = query.args.get("with_")
        visible, defined = dict(environment), []
        for cte in with_.expressions if with_ else ():
            derived = _Derived(cte.this, dict(visible))
            visible[cte.alias.lower()] = derived
            defined.append(derived)
        return visible, defined

    def _set_operation(
        self, query: exp.SetOperation, visible: _Environment, filtered: frozenset[str]
    ) -> None:
        names = self._outputs(query.left, visible)
        other = self._outputs(query.right, visible)
        if _is_cut(query) or names is None or other is None or len(names) != len(other):
            filtered = frozenset()
        self.check(query.left, visible, filtered)
        by_position = {
            theirs
            for ours, theirs in zip(names or (), other or (), strict=False)
            if ours in filtered
        }
        self.check(query.right, visible, frozenset(by_position))

    def _select(self, select: exp.Select, visible: _Environment, filtered: frozenset[str]) -> None:
        sources, certain = self._sources(select, visible)
        known = [source.columns for source in sources]
        self.columns[id(select)] = (
            frozenset(name for columns in known for name in columns or ())
            if None not in known
            else None
        )
        scope = _Scope(select, sources)
        where = select.args.get("where")
        certain |= {
            (source.name, column)
            for source, column in (
                *scope.compared(where.this if where else None),
                *scope.passed_on(filtered),
            )
            if not source.may_be_absent
        }
        for source in sources:
            columns = frozenset(column for name, column in certain if name == source.name)
            if isinstance(source.of, _Derived):
                self._used.add(id(source.of))
                self.check(source.of.query, source.of.visible, columns)
            elif source.of is not None:
                scan = source.of
                if scan.partition_column and scan.partition_column.lower() not in columns:
                    raise PartitionFilterError(scan.table, scan.partition_column, scan.view)
        for inner in _inner_queries(select):
            self.check(inner, visible)

    def _sources(
        self, select: exp.Select, visible: _Environment
    ) -> tuple[list[_Source], set[tuple[str, str]]]:
        """What the FROM clause names, and which of its columns the ON conditions filter."""
        from_ = select.args.get("from_")
        if from_ is None:
            return [], set()
        sources = [self._source(from_.this, visible)]
        certain: set[tuple[str, str]] = set()
        for join in select.args.get("joins") or ():
            source = self._source(join.this, visible)
            before, side = list(sources), (join.side or "").upper()
            sources.append(source)
            # An inner join's condition filters both sides, an outer join's the side it may drop.
            reached = {"": sources, "LEFT": [source], "RIGHT": before}.get(side, [])
            certain |= {
                (found.name, column)
                for found, column in _Scope(select, sources).compared(join.args.get("on"))
                if found in reached and not found.may_be_absent
            }
            if side in ("RIGHT", "FULL"):
                for earlier in before:
                    earlier.may_be_absent = True
            source.may_be_absent = side in ("LEFT", "FULL")
        names = [source.name for source in sources]
        if len(set(names)) < len(names):
            raise DialectError(
                "Two tables in one FROM clause have the same name; give one an alias"
            )
        return sources, certain

    def _source(self, node: exp.Expr, visible: _Environment) -> _Source:
        # A name of its own also for what has none.
        name = node.alias_or_name.lower() or f"#{id(node)}"
        if isinstance(node, exp.Table):
            if not node.db and node.name.lower() in visible:
                derived = visible[node.name.lower()]
                return _Source(name, self._outputs(derived.query, derived.visible), derived)
            key = key_of(node)
            table = self._catalog[key]
            scan = _Scan(key, table.partition_column, node.meta_get(BEHIND))
            return _Source(name, tuple(c.lower() for c in table.columns), scan)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query):
            derived = _Derived(node.this, visible)
            return _Source(name, self._outputs(node.this, visible), derived)
        if isinstance(node, exp.Unnest):
            alias = node.args.get("alias")
            columns = tuple(column.name.lower() for column in alias.columns) if alias else ()
            return _Source(columns[0] if columns else name, columns, None)
        raise unsupported(f"{node.sql(dialect='bigquery')} in FROM")

    def _outputs(self, query: exp.Expr, environment: _Environment) -> tuple[str, ...] | None:
        """The names of a query's columns, or None if they are not known."""
        visible, _ = self._with(query, environment)
        if isinstance(query, exp.Subquery):
            return self._outputs(query.this, visible)
        if isinstance(query, exp.SetOperation):
            return self._outputs(query.left, visible)
        if not isinstance(query, exp.Select):
            return None
        names: list[str] = []
        for name, item in selection(query):
            if not is_star(item):
                names.append(name)
                continue
            if any(join.args.get("using") for join in query.args.get("joins") or ()):
                return None
            sources, _ = self._sources(query, visible)
            star = item if isinstance(item, exp.Star) else item.this
            left_out = {column.name.lower() for column in star.args.get("except_") or ()}
            for source in sources:
                if isinstance(item, exp.Column) and item.table.lower() != source.name:
                    continue
                if source.columns is None:
                    return None
                names += [column for column in source.columns if column not in left_out]
        return tuple(names)


class _Scope:
    """The names that one SELECT sees."""

    def __init__(self, select: exp.Select, sources: list[_Source]) -> None:
        self._select = select
        self._sources = sources

    def resolve(self, column: exp.Expr) -> tuple[_Source, str] | None:
        """Whose column it is, where that is certain."""
        if not isinstance(column, exp.Column) or column.db or is_star(column):
            return None
        name, sources = column.name.lower(), self._sources
        if column.table:
            sources = [source for source in sources if source.name == column.table.lower()]
        elif any(source.columns is None for source in sources) and len(sources) > 1:
            return None
        owners = [source for source in sources if source.columns is None or name in source.columns]
        if len(owners) > 1 and self._is_taken_from_the_left(name):
            owners = owners[:1]
        return (owners[0], name) if len(owners) == 1 else None

    def _is_taken_from_the_left(self, name: str) -> bool:
        joins = [
            join
            for join in self._select.args.get("joins") or ()
            if name in {column.name.lower() for column in join.args.get("using") or ()}
        ]
        return bool(joins) and all((join.side or "").upper() in ("", "LEFT") for join in joins)

    def compared(self, condition: exp.Expr | None) -> Iterator[tuple[_Source, str]]:
        """The columns that an ANDed term of the condition compares with a constant."""
        if isinstance(condition, exp.Paren):
            yield from self.compared(condition.this)
        elif isinstance(condition, exp.And):
            yield from self.compared(condition.left)
            yield from self.compared(condition.right)
        else:
            column = _compared_with_constant(condition)
            found = self.resolve(column) if column is not None else None
            if found is not None:
                yield found

    def passed_on(self, filtered: frozenset[str]) -> Iterator[tuple[_Source, str]]:
        """The columns behind those outputs, where filtering these is filtering those."""
        if not filtered or _is_cut(self._select) or self._select.args.get("qualify"):
            return
        nodes = [node for item in self._select.expressions for node in own(item)]
        if any(isinstance(node, exp.Window) for node in nodes):
            return
        grouped = self._grouped()
        if grouped is None and any(isinstance(node, exp.AggFunc) for node in nodes):
            return
        for name, item in selection(self._select):
            if is_star(item):
                found = self._through_star(item, filtered)
            elif name in filtered:
                resolved = self.resolve(item)
                found = [resolved] if resolved is not None else []
            else:
                found = []
            for source, column in found:
                if grouped is None or (source.name, column) in grouped:
                    yield source, column

    def _through_star(self, item: exp.Expr, filtered: frozenset[str]) -> list[tuple[_Source, str]]:
        star = item if isinstance(item, exp.Star) else item.this
        changed = {column.name.lower() for column in star.args.get("except_") or ()}
        changed |= {column.alias.lower() for column in star.args.get("replace") or ()}
        table = exp.to_identifier(item.table) if isinstance(item, exp.Column) else None
        found = (self.resolve(exp.column(name, table=table)) for name in sorted(filtered - changed))
        return [resolved for resolved in found if resolved is not None]

    def _grouped(self) -> set[tuple[str, str]] | None:
        """The columns among the group keys; None without GROUP BY."""
        group = self._select.args.get("group")
        if group is None:
            return None
        items = selection(self._select)
        keys: set[tuple[str, str]] = set()
        # Of GROUP BY ALL, every output that is a column is a key.
        for key in [item for _, item in items] if group.args.get("all") else group.expressions:
            term: exp.Expr = key
            if isinstance(key, exp.Literal) and not key.is_string:
                term = items[int(key.name) - 1][1] if 0 < int(key.name) <= len(items) else key
            elif isinstance(key, exp.Column) and not key.table:
                term = next((item for name, item in items if name == key.name.lower()), key)
            found = self.resolve(term)
            if found is not None:
                keys.add((found[0].name, found[1]))
        return keys


def _is_cut(query: exp.Expr) -> bool:
    """Whether rows are left out by number, so that a filter outside is no filter inside."""
    return bool(query.args.get("limit") or query.args.get("offset"))


def _is_constant(node: exp.Expr) -> bool:
    return node.find(exp.Column, exp.Query, exp.Star) is None


def _compared_with_constant(condition: exp.Expr | None) -> exp.Expr | None:
    match condition:
        case exp.EQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            left, right = condition.left, condition.right
            if _is_constant(right):
                return _column_of(left)
            return _column_of(right) if _is_constant(left) else None
        case exp.Between():
            bounds = (condition.args["low"], condition.args["high"])
            return _column_of(condition.this) if all(map(_is_constant, bounds)) else None
        case exp.In() if not condition.args.get("query"):
            values = [*condition.expressions, *filter(None, [condition.args.get("unnest")])]
            return _column_of(condition.this) if all(map(_is_constant, values)) else None
    return None


def _column_of(compared: exp.Expr) -> exp.Expr:
    """The column whose partitions a comparison chooses: BigQuery also looks through DATE(column)
    and TIMESTAMP_TRUNC(column, DAY), which name whole days of a TIMESTAMP."""
    node = compared.unnest()
    is_day = isinstance(node, exp.Date) or (
        isinstance(node, exp.TimestampTrunc) and node.text("unit").upper() == "DAY"
    )
    if is_day and isinstance(node.this, exp.Expr) and not node.args.get("zone"):
        return node.this.unnest()
    return node


def _inner_queries(select: exp.Select) -> Iterator[exp.Expr]:
    """The queries inside the expressions of a SELECT."""
    clauses = [
        clause
        for name, clause in select.args.items()
        if name not in ("with_", "from_", "joins") and clause
    ]
    for join in select.args.get("joins") or ():
        clauses += [
            join.args.get("on"),
            *(join.this.expressions if isinstance(join.this, exp.Unnest) else ()),
        ]
    from_ = select.args.get("from_")
    if from_ is not None and isinstance(from_.this, exp.Unnest):
        clauses += from_.this.expressions
    for clause in clauses:
        for node in clause if isinstance(clause, list) else [clause]:
            if isinstance(node, exp.Expr):
                yield from _outermost_queries(node)


def _outermost_queries(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, exp.Query):
        yield node
        return
    for child in node.iter_expressions():
        yield from _outermost_queries(child)
