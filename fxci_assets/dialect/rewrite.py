"""From BigQuery's syntax tree to DuckDB's, through an allow-list.

Here belongs one method for each construct that must be rewritten (`_METHODS`). Those that mean the
same in both engines, or are a macro with the same arguments, are tables in `constructs`. What is
in none of these is refused. Where DuckDB's function differs, a macro of `functions` is called.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from fxci_assets.dialect.constructs import (
    COMPARISONS,
    DATE_CODES,
    DATE_PARTS,
    DAYS,
    EXTRACT_DATES,
    EXTRACT_TIMES,
    MACROS_OF,
    MICROSECONDS,
    MONTHS,
    NO_COLUMNS,
    PARSERS_OWN,
    QUERY,
    SAME,
    TIME_CODES,
    TIMESTAMP_LITERAL,
    TYPES,
    WEEKDAYS,
)
from fxci_assets.dialect.errors import DialectError, unsupported
from fxci_assets.dialect.names import (
    check_aliases,
    name_the_nameless,
    shared_columns_first,
    with_aliases_resolved,
)
from fxci_assets.dialect.scopes import Scopes, is_star, own
from fxci_assets.dialect.views import key_of

Parameter = str | int | float | bool | dt.date | dt.datetime
Value = Parameter | Sequence[Parameter]
"""What a query parameter may be. A `datetime` needs a time zone."""


def _call(name: str, *arguments: exp.Expr | None) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[a for a in arguments if a is not None])


def _number(value: int) -> exp.Expr:
    return exp.Literal.number(value)


def _int64(value: exp.Expr) -> exp.Expr:
    return exp.cast(value, "BIGINT")


def _text(node: exp.Expr | None) -> str | None:
    """The value of a string literal."""
    if isinstance(node, exp.RawString) or (isinstance(node, exp.Literal) and node.is_string):
        return str(node.this)
    return None


def _name(node: exp.Expr) -> str:
    return node.sql_name() if isinstance(node, exp.Func) else type(node).__name__.upper()


def _parts(node: exp.Expr) -> set[str]:
    """The parts of a node that are there."""
    return {name for name, value in node.args.items() if value not in (None, False, [])}


class Rewriter:
    """Rewrites one statement. `parameters` and `tables` collect those that it uses."""

    def __init__(self, scopes: Scopes, parameters: dict[str, Value]) -> None:
        self._scopes = scopes
        self._given = parameters
        self.parameters: dict[str, Value] = {}
        self.tables: set[str] = set()

    def __call__(self, statement: exp.Expr) -> exp.Expr:
        query = self._node(statement)
        name_the_nameless(query)
        return query

    # --- the walk ---------------------------------------------------------------------------------

    def _node(self, node: exp.Expr) -> exp.Expr:
        kind = type(node)
        if kind in SAME:
            self._only(node, SAME[kind])
            return self._same(node)
        if kind in MACROS_OF:
            macro, names = MACROS_OF[kind]
            self._only(node, {*names})
            return _call(macro, *(self._optional(node.args.get(name)) for name in names))
        method = _METHODS.get(kind)
        if method is None:
            raise unsupported(_name(node))
        return method(self, node)

    def _same(self, node: exp.Expr) -> exp.Expr:
        copy = type(node)()
        for name, value in node.args.items():
            if isinstance(value, exp.Expr):
                copy.set(name, self._node(value))
            elif isinstance(value, list):
                copy.set(name, [self._node(v) if isinstance(v, exp.Expr) else v for v in value])
            else:
                copy.set(name, value)
        return copy

    def _optional(self, node: exp.Expr | None) -> exp.Expr | None:
        return None if node is None else self._node(node)

    def _all(self, nodes: Sequence[exp.Expr]) -> list[exp.Expr]:
        return [self._node(node) for node in nodes]

    def _only(self, node: exp.Expr, allowed: set[str]) -> None:
        """Refuses a part of the construct that is not known."""
        for part in sorted(_parts(node) - allowed - PARSERS_OWN.get(type(node), set())):
            raise unsupported(f"{_name(node)} with {part.strip('_').upper().replace('_', ' ')}")

    # --- queries ----------------------------------------------------------------------------------

    def _select(self, node: exp.Expr) -> exp.Expr:
        assert isinstance(node, exp.Select)
        self._only(
            node,
            {"expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify"}
            | {"windows", *QUERY},
        )
        check_aliases(node, self._scopes.columns.get(id(node)))
        node = with_aliases_resolved(node)
        using = [
            column.name
            for join in node.args.get("joins") or ()
            for column in join.args.get("using") or ()
        ]
        query = self._same(node)
        if using:
            shared_columns_first(query, using)
        return query

    def _group(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"expressions"})
        return exp.Group(expressions=[self._term(key) for key in node.expressions])

    def _ordered(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "desc", "nulls_first"})
        return exp.Ordered(**{**node.args, "this": self._term(node.this)})

    def _term(self, node: exp.Expr) -> exp.Expr:
        """A term of GROUP BY or ORDER BY, where a number is the position of an output."""
        is_position = isinstance(node, exp.Literal) and not node.is_string
        return node.copy() if is_position else self._node(node)

    def _join(self, node: exp.Expr) -> exp.Expr:
        assert isinstance(node, exp.Join)
        self._only(node, {"this", "on", "using", "side", "kind"})
        side, kind = (node.side or "").upper(), (node.kind or "").upper()
        if side not in ("", "LEFT", "RIGHT", "FULL") or kind not in ("", "INNER", "OUTER", "CROSS"):
            raise unsupported(f"{side} {kind} JOIN".strip())
        join = self._same(node)
        if not node.args.get("on") and not node.args.get("using") and kind != "CROSS":
            if not isinstance(node.this, exp.Unnest):
                raise DialectError(
                    "A JOIN needs ON or USING; write CROSS JOIN for all combinations"
                )
            join.set("on", exp.true())
        return join

    def _table(self, node: exp.Expr) -> exp.Expr:
        assert isinstance(node, exp.Table)
        self._only(node, {"this", "db", "catalog", "alias"})
        alias = self._optional(node.args.get("alias"))
        name = exp.to_identifier(node.name, quoted=True)
        if not node.db:
            return exp.Table(this=name, alias=alias)
        self.tables.add(key_of(node))
        # With an alias the dataset is no name by which a column can be reached, as in BigQuery.
        return exp.Table(
            this=name,
            db=exp.to_identifier(node.db, quoted=True),
            alias=alias or exp.TableAlias(this=name.copy()),
        )

    def _unnest(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"expressions", "alias"})
        alias = node.args.get("alias")
        if len(node.expressions) != 1:
            raise unsupported("UNNEST of several arrays")
        if alias is None or len(alias.columns) != 1 or alias.this:
            raise unsupported("UNNEST without an alias", "write UNNEST(…) AS name")
        return exp.Unnest(
            expressions=self._all(node.expressions),
            alias=exp.TableAlias(
                this=exp.to_identifier(f"_{alias.columns[0].name}"), columns=alias.columns
            ),
        )

    def _limit(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"expression"})
        return type(node)(expression=self._count(node.expression))

    def _count(self, node: exp.Expr) -> exp.Expr:
        """A number that must stand as it is."""
        if isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit():
            return node.copy()
        if isinstance(node, exp.Parameter):
            return self._parameter(node)
        raise unsupported(f"{node.sql(dialect='bigquery')} as a count", "write a number")

    def _column(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "table", "db", "catalog"})
        name = node.name.lower()
        if name in NO_COLUMNS and not node.text("table") and not self._scopes.may_be_column(name):
            raise DialectError(f"Unrecognized name: {node.name}")
        return self._same(node)

    # --- values -----------------------------------------------------------------------------------

    def _literal(self, node: exp.Expr) -> exp.Expr:
        if node.is_string:
            return exp.Literal.string(node.name)
        if node.name.isdigit():
            if int(node.name) >= 2**63:
                raise unsupported(f"The number {node.name}")
            return _int64(exp.Literal.number(node.name))
        value = repr(float(node.name))
        if "inf" in value:
            raise unsupported(f"The number {node.name}")
        # Without an exponent DuckDB reads a decimal, BigQuery a float.
        return exp.Literal.number(value if "e" in value else f"{value}e0")

    def _rawstring(self, node: exp.Expr) -> exp.Expr:
        return exp.Literal.string(node.name)

    def _parameter(self, node: exp.Expr) -> exp.Expr:
        if not isinstance(node.this, exp.Var):
            raise unsupported("A system variable")
        name = node.this.name
        key = next((given for given in self._given if given.lower() == name.lower()), None)
        if key is None:
            raise DialectError(f"The query has a parameter @{name}, for which there is no value")
        value = self._given[key]
        if isinstance(value, list | tuple) and not value:
            # Its elements have no type: it fits with all.
            return exp.Array(expressions=[])
        self.parameters[key] = value
        return exp.cast(exp.Placeholder(this=key), _parameter_type(key, value))

    def _cast(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "to"})
        target = node.args["to"]
        kind = target.this.name if isinstance(target, exp.DataType) else ""
        if kind not in TYPES or target.expressions:
            known = {*TYPES.values()}
            name = target.sql(dialect="bigquery")
            raise unsupported(f"CAST AS {kind if name.lower() in known else name}")
        literal = _text(node.this)
        time = _time_literal(literal, kind) if type(node) is exp.Cast else None
        if time is not None:
            return exp.cast(exp.Literal.string(time), kind)
        safe = "safe_" if isinstance(node, exp.TryCast) else ""
        return _call(f"bq_{safe}to_{TYPES[kind]}", self._node(node.this))

    def _struct(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"expressions"})
        fields = []
        for field in node.expressions:
            if isinstance(field, exp.PropertyEQ):
                fields.append(
                    exp.PropertyEQ(this=field.this.copy(), expression=self._node(field.expression))
                )
            elif isinstance(field, exp.Column) and not is_star(field):
                name = exp.to_identifier(field.name)
                fields.append(exp.PropertyEQ(this=name, expression=self._node(field)))
            else:
                raise unsupported("A STRUCT field without a name", "write AS name")
        return exp.Struct(expressions=fields)

    def _dot(self, node: exp.Expr) -> exp.Expr:
        if not isinstance(node.expression, exp.Identifier):
            raise unsupported(node.sql(dialect="bigquery"))
        return _call(
            "struct_extract", self._node(node.this), exp.Literal.string(node.expression.name)
        )

    def _bracket(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expressions", "offset", "safe"})
        if node.args.get("offset") is None or len(node.expressions) != 1:
            raise unsupported("A subscript", "write [OFFSET(n)]")
        safe = "safe_" if node.args.get("safe") else ""
        position = self._node(node.expressions[0])
        if node.args["offset"] == 1:
            position = exp.paren(exp.Sub(this=position, expression=_number(1)))
        array = self._node(node.this)
        if isinstance(array, exp.Anonymous) and array.name == "bq_quantiles":
            # The one element: a macro with types cannot look into the lambda that makes them all.
            return _call(f"bq_{safe}quantile", *array.expressions, position)
        return _call(f"bq_{safe}offset", array, position)

    def _if(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "true", "false"})
        if not isinstance(node.parent, exp.Case) and node.args.get("false") is None:
            raise DialectError("IF needs a third argument")
        return self._same(node)

    def _comparison(self, node: exp.Expr) -> exp.Expr:
        self._only(node, COMPARISONS[type(node)])
        if any(isinstance(operand.unnest(), exp.Struct) for operand in node.iter_expressions()):
            # With a NULL in both, DuckDB takes them for equal and BigQuery answers NULL.
            raise unsupported("Comparing a STRUCT", "compare its fields")
        unnest = node.args.get("unnest")
        if unnest is None:
            return self._same(node)
        self._only(unnest, {"expressions"})
        return _call("bq_in_array", self._node(node.this), self._node(unnest.expressions[0]))

    # --- arithmetic and text ----------------------------------------------------------------------

    def _add(self, node: exp.Expr) -> exp.Expr:
        minus = isinstance(node, exp.Sub)
        left, right = node.this, node.expression
        if not _has_aggregate(node):
            return _call("bq_subtract" if minus else "bq_add", self._node(left), self._node(right))
        # A macro cannot tell the types of aggregates apart; the operator can, save that it
        # subtracts dates from each other, which a negated date prevents.
        one, other = self._operand(left), self._operand(right)
        if minus and not isinstance(other, exp.Literal):
            return exp.paren(exp.Add(this=one, expression=exp.Neg(this=exp.paren(other))))
        return exp.paren(type(node)(this=one, expression=other))

    def _operand(self, node: exp.Expr) -> exp.Expr:
        """A small number stays as it is written: DuckDB adds that to a date."""
        is_number = isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit()
        if is_number and int(node.name) < 2**31:
            return node.copy()
        return exp.paren(self._node(node))

    def _greatest(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expressions"})
        values = self._all([node.this, *node.expressions])
        anyone_null = exp.or_(
            *(exp.Is(this=value.copy(), expression=exp.null()) for value in values)
        )
        function = "greatest" if isinstance(node, exp.Greatest) else "least"
        return exp.Case(
            ifs=[exp.If(this=anyone_null, true=exp.null())], default=_call(function, *values)
        )

    def _concat(self, node: exp.Expr) -> exp.Expr:
        parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
        texts = [
            self._node(part)
            if _text(part) is not None or isinstance(part, exp.DPipe | exp.Concat)
            else _call("bq_to_string", self._node(part))
            for part in parts
        ]
        whole = texts[0]
        for text in texts[1:]:
            whole = exp.DPipe(this=whole, expression=text)
        return exp.paren(whole)

    def _like(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression", "negate"})
        like = _call("bq_like", self._node(node.this), self._node(node.expression))
        return exp.not_(like) if node.args.get("negate") else like

    def _trim(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression", "position"})
        macro = {"LEADING": "bq_ltrim", "TRAILING": "bq_rtrim"}.get(
            node.text("position"), "bq_trim"
        )
        return _call(macro, self._node(node.this), self._optional(node.args.get("expression")))

    def _regexpextract(self, node: exp.Expr) -> exp.Expr:
        pattern = _text(node.expression)
        self._only(node, {"this", "expression", "group"})
        if pattern is None:
            raise unsupported("REGEXP_EXTRACT with a pattern that is no literal")
        group = _number(_capture_group(pattern))
        return _call("bq_regexp_extract", self._node(node.this), exp.Literal.string(pattern), group)

    # --- dates and times --------------------------------------------------------------------------

    def _timestampdiff(self, node: exp.Expr) -> exp.Expr:
        unit = _number(MICROSECONDS[_part(node, MICROSECONDS)])
        return _call("bq_timestamp_diff", self._node(node.this), self._node(node.expression), unit)

    def _timestampadd(self, node: exp.Expr) -> exp.Expr:
        unit = _number(MICROSECONDS[_part(node, MICROSECONDS)])
        return _call("bq_timestamp_add", self._node(node.this), self._interval_count(node), unit)

    def _dateadd(self, node: exp.Expr) -> exp.Expr:
        part = _part(node, (*DAYS, *MONTHS))
        macro = "bq_date_add_days" if part in DAYS else "bq_date_add_months"
        count = exp.Mul(
            this=exp.paren(self._interval_count(node)), expression=_number((DAYS | MONTHS)[part])
        )
        return _call(macro, self._day(node.this), count)

    def _day(self, node: exp.Expr) -> exp.Expr:
        text = _text(node)
        if text is not None:
            raise DialectError(f"'{text}' is a text where a DATE is expected; write DATE '{text}'")
        return self._node(node)

    def _interval_count(self, node: exp.Expr) -> exp.Expr:
        """How many units an interval has, negated for a SUB."""
        self._only(node, {"this", "expression", "unit"})
        literal = _text(node.expression)
        if literal is None:
            count = exp.paren(self._node(node.expression))
        elif re.fullmatch(r"-?\d{1,18}", literal):
            count = exp.paren(_int64(_number(int(literal))))
        else:
            raise unsupported(f"INTERVAL '{literal}'", "write a whole number")
        is_sub = isinstance(node, exp.DateSub | exp.TimestampSub)
        return exp.Neg(this=count) if is_sub else count

    def _datediff(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression", "unit"})
        days = [self._day(node.this), self._day(node.expression)]
        shift = _week_shift(node)
        if shift is not None:
            return _call("bq_date_diff_week", *days, _number(shift))
        part = exp.Literal.string(_part(node, DATE_PARTS).lower())
        return _call("bq_date_diff", *days, part)

    def _datetrunc(self, node: exp.Expr) -> exp.Expr:
        return self._trunc(node, "bq_date_trunc", DATE_PARTS, self._day(node.this))

    def _timestamptrunc(self, node: exp.Expr) -> exp.Expr:
        parts = (*MICROSECONDS, *DATE_PARTS)
        return self._trunc(node, "bq_timestamp_trunc", parts, self._node(node.this))

    def _trunc(self, node: exp.Expr, macro: str, parts: Sequence[str], value: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "unit"})
        shift = _week_shift(node)
        if shift is not None:
            return _call(f"{macro}_week", value, _number(shift))
        return _call(macro, value, exp.Literal.string(_part(node, parts).lower()))

    def _extract(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression"})
        part = node.this.name.upper() if isinstance(node.this, exp.Var) else ""
        value = self._node(node.expression)
        if part == "DATE":
            return _call("bq_date", value)
        if part == "WEEK":
            return _call("bq_extract_week", value)
        if part == "DAYOFWEEK":
            dow = _call("bq_extract", exp.Literal.string("dow"), value)
            return exp.paren(exp.Add(this=dow, expression=_number(1)))
        if part in EXTRACT_TIMES:
            modulus = _number(EXTRACT_TIMES[part])
            return _call("bq_extract_time", exp.Literal.string(part.lower()), modulus, value)
        if part in EXTRACT_DATES:
            return _call("bq_extract", exp.Literal.string(EXTRACT_DATES[part]), value)
        raise unsupported(f"EXTRACT({node.this.sql(dialect='bigquery')} …)")

    def _timetostr(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "format"})
        is_date = isinstance(node.this, exp.TsOrDsToDate)
        if not is_date and not isinstance(node.this, exp.TsOrDsToTimestamp):
            raise unsupported(_name(node))
        function = "FORMAT_DATE" if is_date else "FORMAT_TIMESTAMP"
        pattern = _text(node.args.get("format"))
        if pattern is None:
            raise unsupported(f"{function} with a format that is no literal")
        pattern = pattern.replace("%R", "%H:%M")
        for code in re.findall("%(.?)", pattern):
            if code not in (DATE_CODES if is_date else DATE_CODES | TIME_CODES):
                raise unsupported(f"The code %{code} in {function}")
        macro = "bq_format_date" if is_date else "bq_format_timestamp"
        value = self._day(node.this.this) if is_date else self._node(node.this.this)
        return _call(macro, value, exp.Literal.string(pattern))

    def _unixmicros(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this"})
        units: dict[type[exp.Expr], int] = {exp.UnixMillis: 1_000, exp.UnixSeconds: 1_000_000}
        return _call("bq_unix", self._node(node.this), _number(units.get(type(node), 1)))

    def _unixtotime(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "scale"})
        unit = 10 ** (6 - int(node.text("scale") or 0))
        return _call("bq_from_unix", self._node(node.this), _number(unit))

    def _generatedatearray(self, node: exp.Expr) -> exp.Expr:
        step = node.args.get("step")
        if not isinstance(step, exp.Interval) or (step.name, step.text("unit")) != ("1", "DAY"):
            raise unsupported("GENERATE_DATE_ARRAY with a step other than one day")
        return _call("bq_date_array", self._node(node.args["start"]), self._node(node.args["end"]))

    # --- aggregates and windows -------------------------------------------------------------------

    def _count_(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "big_int"})
        if node.this is None:
            raise DialectError("COUNT needs an argument; write COUNT(*)")
        if isinstance(node.this, exp.Distinct) and len(node.this.expressions) != 1:
            raise unsupported("COUNT(DISTINCT …) over several values")
        return exp.Count(this=self._node(node.this))

    def _sum(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this"})
        # As with `+`: the macro that narrows DuckDB's HUGEINT cannot look into an aggregate.
        plain = isinstance(node.this, exp.Distinct) or _has_aggregate(node.this)
        return _call("sum" if plain else "bq_sum", self._node(node.this))

    def _avg(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this"})
        macro = "avg" if isinstance(node.this, exp.Distinct) else "bq_avg"
        return _call(macro, self._node(node.this))

    def _anyvalue(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this"})
        having = node.this
        if not isinstance(having, exp.HavingMax):
            return self._same(node)
        self._only(having, {"this", "expression", "max"})
        macro = "bq_max_by" if having.args.get("max") else "bq_min_by"
        return _call(macro, self._node(having.this), self._node(having.expression))

    def _approxdistinct(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this"})
        return exp.Count(this=exp.Distinct(expressions=[self._node(node.this)]))

    def _approxquantiles(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression"})
        if isinstance(node.this, exp.Distinct):
            raise unsupported("APPROX_QUANTILES with DISTINCT")
        if not isinstance(node.expression, exp.Literal) or not node.expression.name.isdigit():
            raise unsupported("APPROX_QUANTILES with a number that is no literal")
        value = self._node(node.this)
        ordered = _call("list_sort", _not_null(_call("array_agg", value), value))
        return _call("bq_quantiles", ordered, self._node(node.expression))

    def _ignorenulls(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node.this, exp.ArrayAgg):
            return self._array_agg(node.this, ignore_nulls=True)
        if isinstance(node.this, exp.ApproxQuantiles):
            return self._approxquantiles(node.this)
        if isinstance(node.this, exp.FirstValue | exp.LastValue):
            return exp.IgnoreNulls(this=self._node(node.this))
        raise unsupported(f"{_name(node.this)} with IGNORE NULLS")

    def _arrayagg(self, node: exp.Expr) -> exp.Expr:
        return self._array_agg(node, ignore_nulls=False)

    def _array_agg(self, node: exp.Expr, *, ignore_nulls: bool) -> exp.Expr:
        self._only(node, {"this"})
        return self._list(node.this, ignore_nulls=ignore_nulls)

    def _list(self, argument: exp.Expr, *, ignore_nulls: bool) -> exp.Expr:
        """An array of a group's values, of an argument like `DISTINCT x ORDER BY y LIMIT n`."""
        limit = argument if isinstance(argument, exp.Limit) else None
        inner = limit.this if limit else argument
        value = inner.this if isinstance(inner, exp.Order) else inner
        if isinstance(value, exp.Distinct):
            if len(value.expressions) != 1:
                raise unsupported("DISTINCT over several values")
            value = value.expressions[0]
        array = _call("array_agg", self._node(inner))
        if ignore_nulls:
            array = _not_null(array, self._node(value))
        if limit is None:
            return array
        return _call("list_slice", array, _number(1), self._count(limit.expression))

    def _groupconcat(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "separator"})
        return self._joined(
            self._list(node.this, ignore_nulls=True),
            node.args.get("separator") or exp.Literal.string(","),
        )

    def _arraytostring(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "expression"})
        return self._joined(self._node(node.this), node.expression)

    def _joined(self, array: exp.Expr, delimiter: exp.Expr) -> exp.Expr:
        if _text(delimiter) is None and not isinstance(delimiter, exp.Parameter):
            raise unsupported("A delimiter that is neither a literal nor a parameter")
        return _call("bq_array_to_string", array, self._node(delimiter))

    def _window(self, node: exp.Expr) -> exp.Expr:
        function = node.this
        if isinstance(function, exp.PercentileCont | exp.PercentileDisc):
            return self._median(node, function)
        self._only(node, {"this", "partition_by", "order", "spec", "alias", "over"})
        if function.find(exp.HavingMax) or isinstance(
            function.find(exp.AggFunc),
            exp.ArrayAgg | exp.GroupConcat | exp.ApproxQuantiles | exp.ArgMax | exp.ArgMin,
        ):
            raise unsupported(f"{function.sql(dialect='bigquery')} with OVER")
        if (
            isinstance(function, exp.Rank | exp.DenseRank | exp.Lag | exp.Lead)
            and not node.args.get("order")
            and not node.args.get("alias")
        ):
            raise DialectError(f"{_name(function)} needs ORDER BY in its OVER clause")
        return self._same(node)

    def _without_over(self, node: exp.Expr) -> exp.Expr:
        raise unsupported(f"{_name(node)} without OVER")

    def _median(self, window: exp.Expr, function: exp.Expr) -> exp.Expr:
        """PERCENTILE_CONT and PERCENTILE_DISC. Beside one half BigQuery weighs the two values, or
        chooses one, by more digits of the percentile than a float has here."""
        self._only(window, {"this", "partition_by", "over"})
        self._only(function, {"this", "expression"})
        percentile = function.expression
        if not isinstance(percentile, exp.Literal) or percentile.name not in ("0.5", ".5"):
            raise unsupported(
                f"{_name(function)} other than of 0.5", "write APPROX_QUANTILES(x, 100)[OFFSET(n)]"
            )

        def lower(value: exp.Expr) -> exp.Expr:
            """Of two values in the middle the smaller one."""
            return exp.Window(
                this=_call("quantile_disc", value, self._node(percentile)),
                partition_by=self._all(window.args.get("partition_by") or ()),
            )

        value = self._node(function.this)
        if isinstance(function, exp.PercentileDisc):
            return lower(value)
        number = _call("bq_float", value)
        upper = exp.Neg(this=lower(exp.Neg(this=number.copy())))
        both = exp.paren(exp.Add(this=lower(number), expression=upper))
        return exp.paren(exp.Div(this=both, expression=_number(2), typed=False))

    def _lag(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"this", "offset", "default"})
        offset = node.args.get("offset")
        return type(node)(
            this=self._node(node.this),
            offset=self._count(offset) if offset is not None else None,
            default=self._optional(node.args.get("default")),
        )

    def _windowspec(self, node: exp.Expr) -> exp.Expr:
        self._only(node, {"kind", "start", "start_side", "end", "end_side"})
        spec = node.copy()
        for bound in (node.args.get("start"), node.args.get("end")):
            if isinstance(bound, exp.Expr):
                self._count(bound)
        return spec


_METHODS: dict[type[exp.Expr], Callable[[Rewriter, exp.Expr], exp.Expr]] = {
    exp.Select: Rewriter._select,
    exp.Join: Rewriter._join,
    exp.Table: Rewriter._table,
    exp.Unnest: Rewriter._unnest,
    exp.Limit: Rewriter._limit,
    exp.Offset: Rewriter._limit,
    exp.Column: Rewriter._column,
    exp.If: Rewriter._if,
    exp.Literal: Rewriter._literal,
    exp.RawString: Rewriter._rawstring,
    exp.Parameter: Rewriter._parameter,
    exp.Cast: Rewriter._cast,
    exp.TryCast: Rewriter._cast,
    exp.Struct: Rewriter._struct,
    exp.Dot: Rewriter._dot,
    exp.Bracket: Rewriter._bracket,
    **dict.fromkeys(COMPARISONS, Rewriter._comparison),
    exp.Add: Rewriter._add,
    exp.Sub: Rewriter._add,
    exp.Greatest: Rewriter._greatest,
    exp.Least: Rewriter._greatest,
    exp.Concat: Rewriter._concat,
    exp.DPipe: Rewriter._concat,
    exp.Trim: Rewriter._trim,
    exp.RegexpExtract: Rewriter._regexpextract,
    exp.TimestampDiff: Rewriter._timestampdiff,
    exp.TimestampAdd: Rewriter._timestampadd,
    exp.TimestampSub: Rewriter._timestampadd,
    exp.DateAdd: Rewriter._dateadd,
    exp.DateSub: Rewriter._dateadd,
    exp.DateDiff: Rewriter._datediff,
    exp.DateTrunc: Rewriter._datetrunc,
    exp.TimestampTrunc: Rewriter._timestamptrunc,
    exp.Extract: Rewriter._extract,
    exp.TimeToStr: Rewriter._timetostr,
    exp.UnixMicros: Rewriter._unixmicros,
    exp.UnixMillis: Rewriter._unixmicros,
    exp.UnixSeconds: Rewriter._unixmicros,
    exp.UnixToTime: Rewriter._unixtotime,
    exp.GenerateDateArray: Rewriter._generatedatearray,
    exp.Sum: Rewriter._sum,
    exp.Avg: Rewriter._avg,
    exp.AnyValue: Rewriter._anyvalue,
    exp.ApproxDistinct: Rewriter._approxdistinct,
    exp.ApproxQuantiles: Rewriter._approxquantiles,
    exp.IgnoreNulls: Rewriter._ignorenulls,
    exp.ArrayAgg: Rewriter._arrayagg,
    exp.GroupConcat: Rewriter._groupconcat,
    exp.ArrayToString: Rewriter._arraytostring,
    exp.Window: Rewriter._window,
    exp.PercentileCont: Rewriter._without_over,
    exp.PercentileDisc: Rewriter._without_over,
    exp.Lag: Rewriter._lag,
    exp.Lead: Rewriter._lag,
    exp.WindowSpec: Rewriter._windowspec,
    exp.Group: Rewriter._group,
    exp.Ordered: Rewriter._ordered,
    exp.Count: Rewriter._count_,
    exp.Like: Rewriter._like,
}


def _not_null(aggregate: exp.Expr, value: exp.Expr) -> exp.Expr:
    return exp.Filter(
        this=aggregate,
        expression=exp.Where(
            this=exp.not_(exp.Is(this=exp.paren(value.copy()), expression=exp.null()))
        ),
    )


def _has_aggregate(node: exp.Expr) -> bool:
    return any(isinstance(part, exp.AggFunc | exp.Window) for part in own(node))


def _part(node: exp.Expr, allowed: Sequence[str] | dict[str, int]) -> str:
    unit = node.args.get("unit")
    part = unit.name.upper() if isinstance(unit, exp.Var | exp.Literal) else ""
    if part not in allowed:
        what = unit.sql(dialect="bigquery") if unit is not None else "no part"
        raise unsupported(f"{_name(node)} with {what}", f"the parts are {', '.join(allowed)}, WEEK")
    return part


def _week_shift(node: exp.Expr) -> int | None:
    """How many days before Monday the node's weeks start; None if its part is no week."""
    unit = node.args.get("unit")
    if isinstance(unit, exp.WeekStart) and unit.name.upper() in WEEKDAYS:
        return WEEKDAYS.index(unit.name.upper())
    if isinstance(unit, exp.Var | exp.Literal) and unit.name.upper() in ("ISOWEEK", "WEEK"):
        return 0 if unit.name.upper() == "ISOWEEK" else 1
    return None


def _time_literal(text: str | None, kind: str) -> str | None:
    """A DATE or TIMESTAMP literal as DuckDB reads it: a constant, by which files are left out."""
    try:
        if kind == "DATE" and re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}", text or ""):
            return dt.date(*map(int, (text or "").split("-"))).isoformat()
        if kind == "TIMESTAMPTZ" and TIMESTAMP_LITERAL.fullmatch(text or ""):
            day, clock = (text or "")[:10], re.sub(r"(Z| ?UTC|\+00(:00)?)$", "", (text or "")[11:])
            dt.date.fromisoformat(day)
            return f"{day} {clock or '00:00:00'}+00"
    except ValueError:
        pass
    return None


def _capture_group(pattern: str) -> int:
    """1 if the pattern has a capturing group, else 0. Refuses what might not take part in a match:
    whether that gives NULL or an empty string is not documented."""
    text = re.sub(r"\\.|\[\^?\]?(\\.|[^\]])*\]", "x", pattern)
    starts = [m.start() for m in re.finditer(r"\((?!\?)|\(\?P?<", text)]
    if len(starts) > 1:
        raise DialectError("REGEXP_EXTRACT: the pattern has more than one capturing group")
    if not starts:
        return 0
    depth, end = 0, len(text)
    for i in range(starts[0], len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            end = i
            break
    outside = text[: starts[0]] + text[end + 1 :]
    enclosed = text[: starts[0]].count("(") - len(re.findall(r"\(\?[a-zA-Z]+\)", text[: starts[0]]))
    enclosed -= text[: starts[0]].count(")") - len(
        re.findall(r"\(\?[a-zA-Z]+\)", text[: starts[0]])
    )
    if "|" in outside or enclosed > 0 or re.match(r"[?*{]", text[end + 1 :]):
        raise unsupported("REGEXP_EXTRACT with a group that need not take part in a match")
    return 1


def _parameter_type(name: str, value: Value) -> str:
    match value:
        case bool():
            return "BOOLEAN"
        case int():
            return "BIGINT"
        case float():
            if value != value:
                raise unsupported(f"NaN, which is the parameter @{name},")
            return "DOUBLE"
        case str():
            return "VARCHAR"
        case dt.datetime():
            if value.tzinfo is None:
                raise DialectError(f"The parameter @{name} is a time without a time zone")
            return "TIMESTAMPTZ"
        case dt.date():
            return "DATE"
        case list() | tuple():
            types = {_parameter_type(name, element) for element in value}
            if len(types) > 1:
                raise DialectError(f"The parameter @{name} has elements of several types")
            return f"{types.pop()}[]"
    raise DialectError(
        f"The parameter @{name} has a type that is not supported: {type(value).__name__}"
    )
