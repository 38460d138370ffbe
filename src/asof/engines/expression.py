"""SQL in definitions: one plain expression over a row's columns, checked by the engine's own parser before
anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

from asof.errors import InvalidExpression

_ROW = "asof_row"
_FORBIDDEN = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "*",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its place",
}
_MAX_LENGTH = 10_000


def check_expression(where: str, sql: str, serialize: Callable[[str], str]) -> tuple[str, ...]:
    """The columns that the expression reads, in order of appearance.

    Args:
        where: the definition, for messages.
        sql: the expression.
        serialize: gives DuckDB's `json_serialize_sql` of a statement.

    Raises:
        InvalidExpression: it does not parse, or is more than one expression over the row (a subquery, a
            window function, a second statement, a comment that swallows the rest).
    """
    if len(sql) > _MAX_LENGTH:
        raise InvalidExpression(f"{where}: {len(sql)} characters of SQL are more than {_MAX_LENGTH}")
    answer = json.loads(serialize(statement_of(sql)))
    if answer["error"]:
        raise InvalidExpression(
            f"{where}: {sql!r} is not an SQL expression: {answer['error_message']}",
            hint="an expression over the row's columns, for example \"amount > 100 and direction = 'debit'\";"
            " a column whose name is an SQL word is quoted: '\"at\"'",
            sql=sql,
        )
    node = _single(answer["statements"])
    if node is None:
        raise InvalidExpression(f"{where}: {sql!r} is more than one expression", sql=sql)
    for part in _walk(node["select_list"]):
        if (kind := str(part.get("class"))) in _FORBIDDEN:
            raise InvalidExpression(
                f"{where}: {sql!r} holds {_FORBIDDEN[kind]}", hint="use the row's own columns only", sql=sql
            )
    refs = [part["column_names"] for part in _walk(node["select_list"]) if part.get("class") == "COLUMN_REF"]
    return tuple(dict.fromkeys(str(ref[0]) for ref in refs))


def statement_of(sql: str) -> str:
    """The statement that an expression is checked in."""
    return f"select ({sql}\n) from {_ROW}"


def _single(statements: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The select node, when it is exactly `select <one expression> from asof_row`."""
    if len(statements) != 1:
        return None
    node = statements[0]["node"]
    table = node.get("from_table", {})
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(node.get("select_list", [])) == 1
        and table.get("type") == "BASE_TABLE"
        and table.get("table_name") == _ROW
        and not node.get("modifiers")
        and not node.get("cte_map", {}).get("map")
        and all(not node.get(clause) for clause in ("where_clause", "group_expressions", "having", "qualify"))
    )
    return node if plain else None


def _walk(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        node = cast("dict[str, Any]", value)
        yield node
        for child in node.values():
            yield from _walk(child)
    elif isinstance(value, list):
        for child in cast("list[object]", value):
            yield from _walk(child)
