"""Fingerprints: the identity of what a definition computes.

Two definitions have one fingerprint when they give the same values. Owner, description and tags (fields with
`compare=False`) do not count; everything that a value depends on does, upstream definitions included. A
function counts by its syntax tree, so formatting and comments do not matter. Stable across processes and
Python versions.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast


def canonical(value: object) -> object:
    """The value as plain JSON data, without what no value depends on.

    Raises:
        TypeError: something that is no definition.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [canonical(item) for item in cast("list[object]", value)]
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value)
        return {str(key): canonical(item) for key, item in sorted(pairs.items())}
    if is_dataclass(value) and not isinstance(value, type):
        body = {
            f.name: canonical(getattr(value, f.name))
            for f in fields(value)
            if f.compare or callable(getattr(value, f.name))
        }
        return {"kind": type(value).__name__, **body}
    if callable(value):
        return {"kind": "function", "tree": function_tree(value)}
    raise TypeError(f"{type(value).__name__} is no definition")


def fingerprint(value: object) -> str:
    """The SHA-256 of the canonical form, in hex.

    Example:
        >>> from asof.define.entity import Entity
        >>> a = Entity("account", keys={"account_id": "string"}, owner="risk")
        >>> b = Entity("account", keys={"account_id": "string"}, owner="growth")
        >>> fingerprint(a) == fingerprint(b)
        True
    """
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def function_tree(function: Callable[..., Any]) -> str:
    """The function's syntax tree as text, without decorators, docstrings, annotations and positions.

    A function without source (made at run time) counts by its qualified name and byte code's constants and
    names.
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        code = getattr(function, "__code__", None)
        parts = (code.co_code.hex(), repr(code.co_consts), code.co_names) if code else ()
        return f"{getattr(function, '__qualname__', '?')}:{parts!r}"
    node = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda)), None)
    if node is None:
        return _dump(tree)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
    return _dump(node)


def _dump(node: ast.AST) -> str:
    # ast.dump omits or prints empty fields depending on the Python version, so the walk is our own.
    parts = [
        f"{name}={_dump_value(value)}"
        for name, value in ast.iter_fields(node)
        if value is not None and value != [] and name not in {"type_comment", "kind", "ctx"}
    ]
    return f"{type(node).__name__}({','.join(parts)})"


def _dump_value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_dump_value(item) for item in cast("list[object]", value)) + "]"
    return _dump(value) if isinstance(value, ast.AST) else repr(value)
