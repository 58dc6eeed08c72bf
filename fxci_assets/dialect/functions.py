"""BigQuery's functions: which are supported, and those that DuckDB answers differently, as macros.

Here belong the names that people may write, and the DuckDB macros (`bq_…`) that give BigQuery's
answer where DuckDB's own function does not. Which macro a construct becomes is
`fxci_assets.dialect.rewrite`. To support another function: add its name here, a test with
BigQuery's answers, and a macro where DuckDB's answers differ.

DuckDB picks an overload of a macro by the types of its arguments, and refuses what fits none. It
does not check them where an argument holds an aggregate, and cannot choose between overloads then:
the macros that must tell types apart there ask `typeof`, which is folded away. And it fails where a
macro with types stands in an UNNEST that refers to another table: those at home there have none.

A macro refuses with `bq_fail`, whose message `fxci_assets.dialect.errors.raised` finds again in
DuckDB's. DuckDB's own `error` would do, but counts as volatile, and no window may be partitioned or
ordered by that.
"""

from __future__ import annotations

import re

SUPPORTED_FUNCTIONS: tuple[str, ...] = (
    "ABS",
    "ANY_VALUE",
    "APPROX_COUNT_DISTINCT",
    "APPROX_QUANTILES",
    "ARRAY_AGG",
    "ARRAY_LENGTH",
    "ARRAY_TO_STRING",
    "AVG",
    "CAST",
    "CEIL",
    "CEILING",
    "COALESCE",
    "CONCAT",
    "COUNT",
    "COUNTIF",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DATE",
    "DATE_ADD",
    "DATE_DIFF",
    "DATE_SUB",
    "DATE_TRUNC",
    "DENSE_RANK",
    "DIV",
    "ENDS_WITH",
    "EXTRACT",
    "FIRST_VALUE",
    "FLOOR",
    "FORMAT_DATE",
    "FORMAT_TIMESTAMP",
    "GENERATE_DATE_ARRAY",
    "GREATEST",
    "IF",
    "IFNULL",
    "LAG",
    "LAST_VALUE",
    "LEAD",
    "LEAST",
    "LENGTH",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "LOWER",
    "LTRIM",
    "MAX",
    "MAX_BY",
    "MIN",
    "MIN_BY",
    "MOD",
    "NULLIF",
    "PERCENTILE_CONT",
    "PERCENTILE_DISC",
    "POW",
    "POWER",
    "RANK",
    "REGEXP_CONTAINS",
    "REGEXP_EXTRACT",
    "REGEXP_REPLACE",
    "REPLACE",
    "ROUND",
    "ROW_NUMBER",
    "RTRIM",
    "SAFE_CAST",
    "SAFE_DIVIDE",
    "SPLIT",
    "SQRT",
    "STARTS_WITH",
    "STRING_AGG",
    "STRPOS",
    "STRUCT",
    "SUBSTR",
    "SUBSTRING",
    "SUM",
    "TIMESTAMP",
    "TIMESTAMP_ADD",
    "TIMESTAMP_DIFF",
    "TIMESTAMP_MICROS",
    "TIMESTAMP_MILLIS",
    "TIMESTAMP_SECONDS",
    "TIMESTAMP_SUB",
    "TIMESTAMP_TRUNC",
    "TRIM",
    "UNIX_MICROS",
    "UNIX_MILLIS",
    "UNIX_SECONDS",
    "UPPER",
)
"""Every function that a query may call. What is not here is refused by name."""

SYNTAX_BEFORE_PARENTHESIS = frozenset(
    [
        "ALL",
        "AND",
        "ANY",
        "AS",
        "BETWEEN",
        "BY",
        "CASE",
        "DISTINCT",
        "ELSE",
        "EXCEPT",
        "EXISTS",
        "FROM",
        "HAVING",
        "IN",
        "INTERSECT",
        "JOIN",
        "LIMIT",
        "NOT",
        "OFFSET",
        "ON",
        "OR",
        "ORDINAL",
        "OVER",
        "QUALIFY",
        "SAFE_OFFSET",
        "SAFE_ORDINAL",
        "SELECT",
        "THEN",
        "UNION",
        "UNNEST",
        "USING",
        "WEEK",
        "WHEN",
        "WHERE",
        "WITH",
    ]
)
"""Words that stand before a parenthesis and are no function."""

# Unicode's White_Space, which TRIM removes in BigQuery; DuckDB's trims the space alone.
_WHITESPACE = " || ".join(
    f"chr({code})"
    for code in (
        *range(0x09, 0x0E),
        0x20,
        0x85,
        0xA0,
        0x1680,
        *range(0x2000, 0x200B),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x3000,
    )
)

_TEXT = "CAST(x AS VARCHAR)"
_INTEGERS = "typeof(x) IN ('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT')"
_DATE_PATTERN = r"\d{4}-\d{1,2}-\d{1,2}"
_TIMESTAMP_PATTERN = (
    _DATE_PATTERN + r"([ Tt]\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?([Zz]| ?UTC|[+-]\d{2}(:\d{2})?)?)?"
)


def _conversions(target: str, duck_type: str, branches: tuple[tuple[str, str], ...]) -> str:
    """`CAST(x AS target)` and its SAFE_ form. A branch is a condition on `x` and its value, in
    which `{cast}` fails or gives NULL, and `{fail}` is for a value that cannot be converted.

    Every branch goes over the text of `x`, as each must bind whatever the type of `x` is.
    """
    macros = []
    for prefix, cast, fail in (
        ("", "CAST", f"bq_fail('Cannot convert to {target}: ' || {_TEXT})"),
        ("safe_", "TRY_CAST", "NULL"),
    ):
        whens = " ".join(
            f"WHEN {condition} THEN {value.format(cast=cast, fail=fail)}"
            for condition, value in branches
        )
        macros.append(
            f"CREATE MACRO bq_{prefix}to_{target.lower()}(x) AS CAST(CASE WHEN x IS NULL THEN NULL "
            f"{whens} ELSE bq_fail('CAST to {target} from ' || typeof(x) || "
            f"' is not supported by the local warehouse') END AS {duck_type})"
        )
    return ";\n".join(macros)


def _braces(pattern: str) -> str:
    """A pattern inside a template for `str.format`."""
    return pattern.replace("{", "{{").replace("}", "}}")


def _is(duck_type: str) -> str:
    return f"typeof(x) = '{duck_type}'"


_DOUBLE = f"TRY_CAST({_TEXT} AS DOUBLE)"
_TIMESTAMP = f"TRY_CAST({_TEXT} AS TIMESTAMPTZ)"
_DIGITS = r"\s*[+-]?[0-9]+\s*|0[xX][0-9a-fA-F]+"
_FLOATS = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*|(?i)\s*[+-]?(inf|infinity)\s*"
_NAN = r"(?i)\s*[+-]?nan\s*"
# BigQuery may read more forms than these: a SAFE_CAST must not call one of them NULL.
_UNSURE = (
    "CASE WHEN regexp_matches(" + _TEXT + r", '^\s*[0-9]{{4}}-') "
    "THEN bq_fail('Cannot convert, or not a supported form: ' || " + _TEXT + ") ELSE {fail} END"
)

_CONVERSIONS = ";\n".join(
    (
        _conversions(
            "STRING",
            "VARCHAR",
            (
                (_is("DOUBLE"), f"bq_float_text({_DOUBLE})"),
                (_is("TIMESTAMP WITH TIME ZONE"), f"bq_timestamp_text({_TIMESTAMP})"),
                (f"{_INTEGERS} OR typeof(x) IN ('VARCHAR', 'DATE', 'BOOLEAN')", _TEXT),
            ),
        ),
        _conversions(
            "INT64",
            "BIGINT",
            (
                # Half away from zero; DuckDB's cast rounds half to even.
                (_is("DOUBLE"), f"{{cast}}(round({_DOUBLE}) AS BIGINT)"),
                (_INTEGERS, f"{{cast}}({_TEXT} AS BIGINT)"),
                (_is("BOOLEAN"), f"CASE {_TEXT} WHEN 'true' THEN 1 ELSE 0 END"),
                # DuckDB would round a text with a fraction.
                (
                    _is("VARCHAR"),
                    f"CASE WHEN regexp_full_match({_TEXT}, '{_DIGITS}') "
                    f"THEN {{cast}}({_TEXT} AS BIGINT) ELSE {{fail}} END",
                ),
            ),
        ),
        _conversions(
            "FLOAT64",
            "DOUBLE",
            (
                (f"{_INTEGERS} OR {_is('DOUBLE')}", _DOUBLE),
                # It is equal to nothing in BigQuery, and to itself and above all in DuckDB.
                (
                    f"regexp_full_match({_TEXT}, '{_NAN}')",
                    "bq_fail('NaN is not supported by the local warehouse')",
                ),
                (
                    _is("VARCHAR"),
                    f"CASE WHEN regexp_full_match({_TEXT}, '{_FLOATS}') "
                    f"THEN {{cast}}({_TEXT} AS DOUBLE) ELSE {{fail}} END",
                ),
            ),
        ),
        _conversions(
            "BOOL",
            "BOOLEAN",
            (
                (_INTEGERS, f"{_TEXT} <> '0'"),
                (
                    "typeof(x) IN ('VARCHAR', 'BOOLEAN')",
                    f"CASE lower({_TEXT}) WHEN 'true' THEN true WHEN 'false' THEN false "
                    "ELSE {fail} END",
                ),
            ),
        ),
        _conversions(
            "DATE",
            "DATE",
            (
                (_is("TIMESTAMP WITH TIME ZONE"), f"CAST({_TIMESTAMP} AS DATE)"),
                (_is("DATE"), f"TRY_CAST({_TEXT} AS DATE)"),
                (
                    _is("VARCHAR"),
                    f"CASE WHEN regexp_full_match({_TEXT}, '{_braces(_DATE_PATTERN)}') "
                    f"THEN {{cast}}({_TEXT} AS DATE) ELSE {_UNSURE} END",
                ),
            ),
        ),
        _conversions(
            "TIMESTAMP",
            "TIMESTAMPTZ",
            (
                ("typeof(x) IN ('TIMESTAMP WITH TIME ZONE', 'DATE')", _TIMESTAMP),
                (
                    _is("VARCHAR"),
                    f"CASE WHEN regexp_full_match({_TEXT}, '{_braces(_TIMESTAMP_PATTERN)}') "
                    f"THEN {{cast}}({_TEXT} AS TIMESTAMPTZ) ELSE {_UNSURE} END",
                ),
            ),
        ),
    )
)


def _only(duck_type: str, what: str, value: str, *arguments: str) -> str:
    """The value, where all the arguments have the type; else an error that names the function."""
    others = " OR ".join(f"typeof({a}) NOT IN ('{duck_type}', '\"NULL\"')" for a in arguments)
    return (
        f"CASE WHEN {others} THEN bq_fail('{what} of ' || typeof({arguments[0]}) || "
        f"' is not supported by the local warehouse') ELSE {value} END"
    )


def _dates(function: str, value: str, *arguments: str) -> str:
    return _only("DATE", function, value, *(arguments or ("x",)))


def _whole(function: str, value: str) -> str:
    kind = "typeof({}) IN ('DOUBLE', 'VARCHAR')"
    return (
        f"CASE WHEN {kind.format('x')} OR {kind.format('y')} "
        f"THEN bq_fail('{function} needs INT64') "
        f"WHEN x IS NOT NULL AND y = 0 THEN bq_fail('division by zero') "
        f"ELSE CAST({value} AS BIGINT) END"
    )


# BigQuery rounds the number that a float is, 2.675 to 2.67; in x * 100 the float is rounded before
# that, to 267.5. So where the product is half way, the bits that it lost decide.
_ROUND = """
CREATE MACRO bq_upper_bits(x) AS x * 134217729e0 - (x * 134217729e0 - x);
CREATE MACRO bq_lost_bits(x, m) AS
  (bq_upper_bits(x) * m - x * m) + (x - bq_upper_bits(x)) * m;
CREATE MACRO bq_round_product(x, m) AS CASE
  WHEN abs(x * m) >= 9007199254740992e0 THEN x
  WHEN abs(x * m - trunc(x * m)) = 0.5e0 AND sign(bq_lost_bits(x, m)) = -sign(x)
  THEN trunc(x * m) / m ELSE round(x * m) / m END;
CREATE MACRO bq_round(x DOUBLE) AS CAST(round(x) AS DOUBLE), (x DOUBLE, n BIGINT) AS CAST(CASE
  WHEN n <= 0 THEN round(x, n::INTEGER)
  WHEN n <= 8 THEN bq_round_product(CAST(x AS DOUBLE), pow(10e0, n))
  WHEN n > 8 THEN bq_fail('ROUND to more than 8 places is not supported by the local warehouse')
  END AS DOUBLE)"""


# Letters that become several in BigQuery and one or none in DuckDB, or depend on their neighbours.
_UPPER_IS_LONGER = r"[ßŉǰΐΰև\x{1E96}-\x{1E9A}\x{1F50}-\x{1FFF}\x{FB00}-\x{FB17}]"
_LOWER_DEPENDS = "[İΣ]"


def _cased(function: str, letters: str) -> str:
    return (
        f"CASE WHEN regexp_matches(x, '{letters}') THEN bq_fail('{function} of one of these "
        "letters is not supported by the local warehouse: ' || x) "
        f"ELSE {function.lower()}(x) END"
    )


def _week_start(x: str) -> str:
    """The start of the week of `x`, for weeks that start `shift` days before Monday."""
    return f"date_trunc('week', {x} + to_days(shift::INTEGER)) - to_days(shift::INTEGER)"


# A text that is no number fails as one when the row is reached, in a type that nothing else has;
# the list makes NULL of its type, so that it goes with every other value.
_FAIL = "list_extract([NULL], CAST(translate(m, chr(10) || chr(13), '  ') AS UTINYINT)::BIGINT)"

MACROS: str = f"""
CREATE MACRO bq_fail(m) AS {_FAIL};
CREATE MACRO bq_float_text(x) AS CASE
  WHEN isnan(x) THEN 'NaN'
  WHEN x = 0 THEN '0'
  WHEN CAST(printf('%.15g', x) AS DOUBLE) = x THEN printf('%.15g', x)
  ELSE printf('%.17g', x) END;
CREATE MACRO bq_timestamp_text(x) AS strftime(x, '%Y-%m-%d %H:%M:%S') || CASE
  WHEN epoch_us(x) % 1000000 = 0 THEN ''
  WHEN epoch_us(x) % 1000 = 0 THEN '.' || left(strftime(x, '%f'), 3)
  ELSE '.' || strftime(x, '%f') END || '+00';
{_CONVERSIONS};

CREATE MACRO bq_add(x DATE, y BIGINT) AS x + y::INTEGER, (x BIGINT, y DATE) AS y + x::INTEGER,
  (x BIGINT, y BIGINT) AS x + y, (x DOUBLE, y DOUBLE) AS x + y;
CREATE MACRO bq_subtract(x DATE, y BIGINT) AS x - y::INTEGER,
  (x BIGINT, y BIGINT) AS x - y, (x DOUBLE, y DOUBLE) AS x - y;
CREATE MACRO bq_divide(x DOUBLE, y DOUBLE) AS
  CASE WHEN x IS NOT NULL AND y = 0 THEN bq_fail('division by zero') ELSE x / y END;
CREATE MACRO bq_safe_divide(x DOUBLE, y DOUBLE) AS CASE WHEN y <> 0 THEN x / y END;
CREATE MACRO bq_div(x, y) AS {_whole("DIV", "x // y")};
CREATE MACRO bq_mod(x, y) AS {_whole("MOD", "x % y")};
CREATE MACRO bq_pow(x DOUBLE, y DOUBLE) AS CASE
  WHEN (x = 0 AND y < 0) OR (x < 0 AND y <> trunc(y)) THEN bq_fail('POW: out of domain')
  ELSE pow(x, y) END;
CREATE MACRO bq_sqrt(x DOUBLE) AS CASE
  WHEN x < 0 THEN bq_fail('SQRT of a negative') ELSE sqrt(x) END;
CREATE MACRO bq_float(x DOUBLE) AS CAST(x AS DOUBLE);
{_ROUND};
CREATE MACRO bq_sum(x BIGINT) AS CAST(sum(x) AS BIGINT), (x DOUBLE) AS sum(x);
CREATE MACRO bq_avg(x DOUBLE) AS avg(x);
CREATE MACRO bq_max_by(x, y) AS CASE
  WHEN max(y) = max(CASE WHEN x IS NOT NULL THEN y END) THEN arg_max(x, y) END;
CREATE MACRO bq_min_by(x, y) AS CASE
  WHEN min(y) = min(CASE WHEN x IS NOT NULL THEN y END) THEN arg_min(x, y) END;
CREATE MACRO bq_countif(x BOOLEAN) AS count(CASE WHEN x THEN 1 END);

CREATE MACRO bq_timestamp_diff(x TIMESTAMPTZ, y TIMESTAMPTZ, unit) AS
  (epoch_us(x) - epoch_us(y)) // unit;
CREATE MACRO bq_timestamp_add(x TIMESTAMPTZ, n BIGINT, unit) AS x + to_microseconds(n * unit);
CREATE MACRO bq_timestamp_trunc(x TIMESTAMPTZ, part VARCHAR) AS date_trunc(part, x);
CREATE MACRO bq_timestamp_trunc_week(x TIMESTAMPTZ, shift) AS {_week_start("x")};
CREATE MACRO bq_date(x TIMESTAMPTZ) AS CAST(x AS DATE);
CREATE MACRO bq_unix(x TIMESTAMPTZ, unit) AS CAST(floor(epoch_us(x) / unit) AS BIGINT);
CREATE MACRO bq_from_unix(x BIGINT, unit) AS CASE
  WHEN x * unit BETWEEN -62135596800000000 AND 253402300799999999 THEN make_timestamptz(x * unit)
  WHEN x IS NOT NULL THEN bq_fail('TIMESTAMP out of range') END;
CREATE MACRO bq_extract(part, x) AS date_part(part, x);
CREATE MACRO bq_extract_time(part, modulus, x) AS CASE
  WHEN typeof(x) = 'DATE' THEN bq_fail('EXTRACT of a time from a DATE')
  ELSE date_part(part, x) % modulus END;
CREATE MACRO bq_extract_week(x) AS CAST(strftime(x, '%U') AS BIGINT);
CREATE MACRO bq_date_diff(x, y, part) AS
  {_dates("DATE_DIFF", "date_diff(part, y, x)", "x", "y")};
CREATE MACRO bq_date_diff_week(x, y, shift) AS
  {_dates("DATE_DIFF", f"date_diff('day', {_week_start('y')}, {_week_start('x')}) // 7", "x", "y")};
CREATE MACRO bq_date_add_days(x, n) AS
  {_dates("DATE_ADD", "CAST(x + to_days(n::INTEGER) AS DATE)")};
CREATE MACRO bq_date_add_months(x, n) AS
  {_dates("DATE_ADD", "CAST(x + to_months(n::INTEGER) AS DATE)")};
CREATE MACRO bq_date_trunc(x, part) AS
  {_dates("DATE_TRUNC", "CAST(date_trunc(part, x) AS DATE)")};
CREATE MACRO bq_date_trunc_week(x, shift) AS
  {_dates("DATE_TRUNC", f"CAST({_week_start('x')} AS DATE)")};
CREATE MACRO bq_format_date(x, format) AS
  {_dates("FORMAT_DATE", "strftime(x, format)")};
CREATE MACRO bq_date_array(x, y) AS {
    _dates("GENERATE_DATE_ARRAY", "CAST(generate_series(x, y, to_days(1)) AS DATE[])", "x", "y")
};
CREATE MACRO bq_format_timestamp(x TIMESTAMPTZ, format) AS strftime(x, format);

CREATE MACRO bq_length(x) AS {_only("VARCHAR", "LENGTH", "length(CAST(x AS VARCHAR))", "x")};
CREATE MACRO bq_lower(x) AS {_cased("LOWER", _LOWER_DEPENDS)};
CREATE MACRO bq_upper(x) AS {_cased("UPPER", _UPPER_IS_LONGER)};
CREATE MACRO bq_trim(x) AS trim(x, {_WHITESPACE}), (x, c) AS trim(x, c);
CREATE MACRO bq_ltrim(x) AS ltrim(x, {_WHITESPACE}), (x, c) AS ltrim(x, c);
CREATE MACRO bq_rtrim(x) AS rtrim(x, {_WHITESPACE}), (x, c) AS rtrim(x, c);
CREATE MACRO bq_substr_start(x, p) AS CASE WHEN p = 0 OR p < -length(x) THEN 1 ELSE p END;
CREATE MACRO bq_substr(x VARCHAR, p BIGINT) AS substring(x, bq_substr_start(x, p)),
  (x VARCHAR, p BIGINT, n BIGINT) AS CASE WHEN n < 0 THEN bq_fail('SUBSTR: negative length')
  ELSE substring(x, bq_substr_start(x, p), n) END;
CREATE MACRO bq_replace(x, y, z) AS replace(x, y, z);
CREATE MACRO bq_strpos(x, y) AS strpos(x, y);
CREATE MACRO bq_starts_with(x, y) AS starts_with(x, y);
CREATE MACRO bq_ends_with(x, y) AS ends_with(x, y);
CREATE MACRO bq_like(x, y) AS x LIKE y ESCAPE '\\';
CREATE MACRO bq_regexp_contains(x, y) AS regexp_matches(x, y);
CREATE MACRO bq_regexp_extract(x, y, g) AS
  CASE WHEN regexp_matches(x, y) THEN regexp_extract(x, y, g) END;
CREATE MACRO bq_regexp_replace(x, y, z) AS regexp_replace(x, y, z, 'g');
CREATE MACRO bq_split(x, y) AS CASE WHEN y IS NOT NULL THEN string_split(x, y) END;
CREATE MACRO bq_array_to_string(x, y) AS CASE
  WHEN typeof(x) NOT IN ('VARCHAR[]', '"NULL"[]', '"NULL"')
  THEN bq_fail('joining elements of ' || typeof(x) || ' is not supported by the local warehouse')
  ELSE array_to_string(x, y) END;

CREATE MACRO bq_offset(x, n) AS CASE WHEN x IS NULL OR n IS NULL THEN NULL
  WHEN n < 0 OR n >= len(x) THEN bq_fail('Array index ' || n || ' is out of bounds')
  ELSE x[n + 1] END;
CREATE MACRO bq_safe_offset(x, n) AS CASE WHEN n >= 0 THEN x[n + 1] END;
CREATE MACRO bq_in_array(x, a) AS CASE WHEN a IS NULL OR len(a) = 0 THEN false
  WHEN x IS NULL THEN NULL WHEN list_contains(a, x) THEN true
  WHEN len(a) <> list_count(a) THEN NULL ELSE false END;
CREATE MACRO bq_quantiles(x, n) AS CASE WHEN x IS NOT NULL THEN list_transform(
  range(0, n + 1), lambda k: bq_rank(x, n, k)) END;
CREATE MACRO bq_rank(x, n, k) AS x[greatest(1, (k * len(x) + n - 1) // n)];
CREATE MACRO bq_quantile(x, n, k) AS CASE WHEN x IS NULL OR k IS NULL THEN NULL
  WHEN k < 0 OR k > n THEN bq_fail('Array index ' || k || ' is out of bounds')
  ELSE bq_rank(x, n, k) END;
CREATE MACRO bq_safe_quantile(x, n, k) AS CASE WHEN k >= 0 AND k <= n THEN bq_rank(x, n, k) END;
"""
"""All macros that a transpiled query may call."""

_MACROS = {
    re.match(r"CREATE MACRO (\w+)", macro)[1]: macro  # type: ignore[index]
    for macro in re.split(r"\n(?=CREATE MACRO )", MACROS.strip())
}
_CALLED = {name: set(re.findall(r"\bbq_\w+", macro)) for name, macro in _MACROS.items()}


def macros_of(sql: str) -> str:
    """The macros that a transpiled query calls, and those that these call. To create all of them
    takes longer than most queries."""
    needed: set[str] = set()
    found = set(re.findall(r"\bbq_\w+", sql)) & _MACROS.keys()
    while found:
        needed |= found
        found = {name for macro in found for name in _CALLED[macro]} & _MACROS.keys() - needed
    return "\n".join(macro for name, macro in _MACROS.items() if name in needed)
