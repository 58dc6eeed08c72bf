"""Which columns each column of a table is made of.

Of a query it follows from the query, so that it cannot differ from it; of what is made of a
source's answers, from the spec: each answer is one text.
"""

import functools
from collections.abc import Iterator, Mapping

import dagster as dg
from sqlglot import exp
from sqlglot.lineage import lineage

from fxci_assets import sql
from fxci_assets.assets import sources
from fxci_assets.settings import Settings
from fxci_assets.tables import BILLING, TABLES, Column, Relation, Table


def columns_from(table: Table, asset: str, column: str) -> dg.TableColumnLineage:
    """Every column from one column of another asset, such as a message's body."""
    deps = [dg.TableColumnDep(dg.AssetKey(asset), column)]
    return dg.TableColumnLineage(
        {name: deps for name in _names(table.columns) if name != table.partition_column}
    )


def columns_of_query(table: Table, settings: Settings) -> dg.TableColumnLineage:
    """Each column from those that the table's query makes it of. What is only compared or counted
    is not among them."""
    return _columns_of_query(table, tuple(sql.names(settings).items()))


# To work it out takes a tenth of a second, and nothing but these decides what comes of it.
@functools.cache
def _columns_of_query(table: Table, named: tuple[tuple[str, str], ...]) -> dg.TableColumnLineage:
    names = dict(named)
    relations: dict[str, tuple[str, Relation]] = {
        names[one.name]: (one.name, one) for one in TABLES
    }
    for source in BILLING:
        relations[names[f"billing.{source.name}"]] = (sources.billing_key(source), source)
    query = sql.text(f"{table.name}.sql", names)
    origins = lineage(None, query, _schema(relations), dialect="bigquery")
    made_of: dict[str, list[dg.TableColumnDep]] = {}
    for column in table.columns:
        deps: set[tuple[str, str]] = set()
        for node in origins[column.name].walk():
            if isinstance(node.expression, exp.Table):
                asset, relation = relations[_name(node.expression)]
                deps.add((asset, _spelling(relation, node.name.rpartition(".")[2])))
            # The elements of an array are not followed to their column.
            for unnest in node.expression.find_all(exp.Unnest):
                (table_,) = node.source.find_all(exp.Table)
                asset, relation = relations[_name(table_)]
                deps.update(
                    (asset, _spelling(relation, c.name)) for c in unnest.find_all(exp.Column)
                )
        if deps:
            made_of[column.name] = [
                dg.TableColumnDep(dg.AssetKey(asset), name) for asset, name in sorted(deps)
            ]
    return dg.TableColumnLineage(made_of)


def _name(table: exp.Table) -> str:
    return f"{table.catalog}.{table.db}.{table.name}"


def _spelling(relation: Relation, column: str) -> str:
    """A column's name as the spec has it; in a query, case does not matter."""
    return next(c.name for c in relation.columns if c.name.lower() == column.lower())


def _names(columns: tuple[Column, ...], prefix: str = "") -> Iterator[str]:
    for column in columns:
        yield f"{prefix}{column.name}"
        yield from _names(column.fields, f"{prefix}{column.name}.")


def _schema(
    relations: Mapping[str, tuple[str, Relation]],
) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    schema: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for name, (_, relation) in relations.items():
        project, dataset, table = name.split(".")
        schema.setdefault(project, {}).setdefault(dataset, {})[table] = {
            column.name: column.sql_type for column in relation.columns
        }
    return schema
