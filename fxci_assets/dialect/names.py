"""What a name in a SELECT means, where BigQuery and DuckDB take it differently.

Here belong aliases against columns, and the names and order of a result's columns. What tables and
columns there are is `fxci_assets.dialect.scopes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from fxci_assets.dialect.errors import DialectError, unsupported
from fxci_assets.dialect.scopes import is_star, own, selection


def check_aliases(select: exp.Select, columns: frozenset[str] | None) -> None:
    """Refuses a name that BigQuery takes for a column, or does not know, and DuckDB for an
    alias, or the other way round."""
    aliases = {
        name
        for name, item in selection(select)
        if name and not is_star(item) and not _is_that_column(name, item, columns)
    }
    for clause in ("having", "qualify"):
        for name in _bare_names(select.args.get(clause)):
            if name in aliases and (columns is None or name in columns):
                raise DialectError(
                    f"`{name}` in {clause.upper()} is an alias and may be a column; "
                    "give the alias another name"
                )
    if columns is None:
        return
    for name in _bare_names(select.args.get("where"), *select.expressions):
        if name in aliases and name not in columns:
            raise DialectError(
                f"`{name}` is an alias of the same SELECT, which BigQuery does not know in WHERE "
                "and in the SELECT list; use a subquery"
            )


def _is_that_column(name: str, item: exp.Expr, columns: frozenset[str] | None) -> bool:
    """Whether an output is the column of its own name, and no field of a struct."""
    if not isinstance(item, exp.Column) or item.name.lower() != name:
        return False
    return not item.table or item.table.lower() not in (columns or ())


def with_aliases_resolved(select: exp.Select) -> exp.Select:
    """Names in GROUP BY and the clauses after it replaced by what they stand for: to BigQuery a
    name there is an output of the SELECT before it is a column, to DuckDB often the other way
    round, and it takes no alias of an expression that may fail."""
    outputs: dict[str, exp.Expr] = {}
    twice: set[str] = set()
    for name, item in selection(select):
        if name and not is_star(item) and outputs.setdefault(name, item) != item:
            twice.add(name)

    def replace(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column) or node.table:
            return node
        name = node.name.lower()
        if name in twice:
            raise DialectError(f"`{name}` is ambiguous: two columns of the SELECT have that name")
        return outputs[name].copy() if name in outputs else node

    def refuse_inside(node: exp.Expr, clause: str) -> None:
        """An alias inside an expression, where it is not certain what it stands for."""
        for column in node.find_all(exp.Column):
            name = column.name.lower()
            if not column.table and name in outputs and outputs[name] != column:
                raise unsupported(
                    f"The alias `{name}` in this expression in {clause}",
                    "give the whole expression an alias and name that",
                )

    resolved = select.copy()
    group, order = resolved.args.get("group"), resolved.args.get("order")
    if group is not None and group.args.get("all"):
        resolved.set("group", exp.Group(expressions=_inferred_keys(select)))
        group = None
    for key in group.expressions if group is not None else ():
        if not isinstance(key, exp.Column):
            refuse_inside(key, "GROUP BY")
    if group is not None:
        group.set("expressions", [replace(key) for key in group.expressions])
    for term in order.expressions if order is not None else ():
        if term.find(exp.AggFunc, exp.Window, exp.Query):
            refuse_inside(term, "ORDER BY")
        term.set("this", term.this.transform(replace))
    for name in ("having", "qualify"):
        clause = resolved.args.get(name)
        if clause is not None:
            if clause.find(exp.Query):
                refuse_inside(clause, name.upper())
            clause.set("this", clause.this.transform(replace))
    return resolved


def _inferred_keys(select: exp.Select) -> list[exp.Expr]:
    """What GROUP BY ALL stands for: the outputs in which there is a column and no aggregate."""
    keys: list[exp.Expr] = []
    for _, item in selection(select):
        parts = list(own(item))
        if is_star(item) or item.find(exp.Query):
            raise unsupported("GROUP BY ALL with * or a subquery in the SELECT list")
        if any(isinstance(part, exp.AggFunc | exp.Window) for part in parts):
            continue
        if any(isinstance(part, exp.Column) for part in parts):
            keys.append(item.copy())
    # A column of an outer query is no key, and without a key there is one row also of no rows.
    if not keys or not _is_table(select):
        raise unsupported("GROUP BY ALL here", "name the keys")
    return keys


def _is_table(query: exp.Expr) -> bool:
    """Whether a query is the statement or something in a FROM clause, and no expression."""
    parent = query.parent
    while isinstance(parent, exp.SetOperation | exp.Subquery):
        parent = parent.parent
    return parent is None or isinstance(parent, exp.CTE | exp.From | exp.Join)


def shared_columns_first(query: exp.Expr, using: Sequence[str]) -> None:
    """`SELECT *` over JOIN … USING begins with the shared columns in BigQuery."""
    items: list[exp.Expr] = []
    for item in query.expressions:
        if isinstance(item, exp.Star):
            if item.args.get("except_") or item.args.get("replace"):
                raise unsupported("SELECT * EXCEPT or REPLACE over JOIN … USING")
            names = list(dict.fromkeys(using))
            items += [exp.column(name) for name in names]
            items.append(exp.Star(except_=[exp.column(name) for name in names]))
        else:
            items.append(item)
    query.set("expressions", items)


def name_the_nameless(query: exp.Expr) -> None:
    """BigQuery calls nameless columns of the result f0_, f1_ and so on."""
    while isinstance(query, exp.Subquery | exp.SetOperation):
        query = query.this
    nameless = 0
    items: list[exp.Expr] = []
    for item in query.expressions:
        name = item.alias_or_name
        if is_star(item) or isinstance(item, exp.Column | exp.Alias):
            items.append(item)
            continue
        if isinstance(item, exp.Anonymous) and item.name == "struct_extract":
            name = item.expressions[1].name
        else:
            name, nameless = f"f{nameless}_", nameless + 1
        items.append(exp.alias_(item, name, quoted=True))
    query.set("expressions", items)


def _bare_names(*clauses: exp.Expr | None) -> Iterator[str]:
    """The unqualified names in a clause, as far as they are the SELECT's own."""
    for clause in clauses:
        for node in own(clause) if clause is not None else ():
            if isinstance(node, exp.Column) and not node.table and not is_star(node):
                yield node.name.lower()
