"""Where a function stands in its source, and its syntax tree as text that is the same in Python 3.11 to 3.13.

A function is found by what its code object says (file, first line, columns), and only if that source compiles to
the very same code: a file that was edited since it was imported does not speak for the function that runs. What no
value depends on is taken out when a file is parsed: docstrings, annotations, type parameters, and how f-strings
are cut into pieces. What a function reads from outside is valued in `function_source.py`.
"""

from __future__ import annotations
import __future__

import ast
import copy
import linecache
import re
import symtable
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, cast

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_POSTPONED = __future__.annotations.compiler_flag
_SILENT_FIELDS = {"type_comment", "kind", "ctx", "type_params"}
_NAMELESS_FIELDS = {*_SILENT_FIELDS, "name", "decorator_list"}


@dataclass(frozen=True)
class FunctionText:
    """A function's syntax tree, and its text as it was written."""

    node: FunctionNode
    written: str


@dataclass(frozen=True)
class _File:
    text: str
    nodes: dict[tuple[str, int], list[FunctionNode]]
    codes: dict[tuple[str, int], list[CodeType]]


def find_function(code: CodeType, module: dict[str, Any]) -> FunctionText | None:
    """The source of a function by its code object and its module's globals; None where none is found.

    Ties: lambdas on one line are told apart by their columns, and where they have none (Python 3.12 gives no
    columns to `lambda: 1`), by what they compile to.
    """
    linecache.checkcache(code.co_filename)
    file = _parse("".join(linecache.getlines(code.co_filename, module)), code.co_flags & _POSTPONED)
    key = (code.co_name, code.co_firstlineno)
    if file is None or key not in file.nodes:
        return None
    node = _choose(file.nodes[key], code)
    if node is None:
        return None
    # pytest rewrites asserts before it compiles, so a function that has some never is what its source compiles to.
    if code not in file.codes[key] and not any(isinstance(each, ast.Assert) for each in ast.walk(node)):
        return None
    return FunctionText(node, ast.get_source_segment(file.text, node) or "")


@lru_cache(maxsize=256)
def _parse(text: str, flags: int) -> _File | None:
    """All functions of a file by name and first line. The text is the key: an edited file is parsed anew."""
    nodes: dict[tuple[str, int], list[FunctionNode]] = {}
    codes: dict[tuple[str, int], list[CodeType]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            compiled = compile(text, "<source>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for code in _codes(compiled):
        codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            nodes.setdefault(_key(node), []).append(node)
        _strip(node)
    return _File(text, nodes, codes)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _key(node: FunctionNode) -> tuple[str, int]:
    if isinstance(node, ast.Lambda):
        return "<lambda>", node.lineno
    first = node.decorator_list[0] if node.decorator_list else node
    return node.name, first.lineno


def _choose(nodes: list[FunctionNode], code: CodeType) -> FunctionNode | None:
    if len(nodes) == 1:
        return nodes[0]
    holding = [node for node in nodes if isinstance(node, ast.Lambda) and _holds(node.body, code)]
    equal = [node for node in holding if _compiled(node).replace(co_flags=code.co_flags) == code]
    if equal or not any(end for *_, end in code.co_positions()):
        return equal[0] if equal else None
    # Lambdas within lambdas: the innermost that holds all instructions.
    return min(holding, key=lambda node: len(tree_text(node)), default=None)


def _holds(body: ast.expr, code: CodeType) -> bool:
    """Whether all instructions of the code that have columns stand within the expression."""
    start = (body.lineno, body.col_offset)
    end = (body.end_lineno or 0, body.end_col_offset or 0)
    return all(
        start <= (line or 0, column or 0) and (last_line or 0, last) <= end
        for line, last_line, column, last in code.co_positions()
        if last  # what stands for the whole function has the columns 0 to 0
    )


def _compiled(node: ast.Lambda) -> CodeType:
    code = compile(ast.Expression(node), "<source>", "eval", dont_inherit=True)
    return next(each for each in code.co_consts if isinstance(each, CodeType))


# ------------------------------------------------------------------------------------------------- canonical form
def _strip(node: ast.AST) -> None:
    """Take out what no value depends on, in place."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        if not isinstance(node, ast.ClassDef):
            node.returns = None
        setattr(node, "type_params", [])  # noqa: B010 - no field of 3.11
    elif isinstance(node, ast.arg):
        node.annotation = None
    elif isinstance(node, ast.JoinedStr):
        node.values = list(_pieces(node.values))
    elif isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
        spec = list(_pieces(node.format_spec.values))
        node.format_spec = ast.JoinedStr(spec) if spec else None
    # In the body of a class an annotation makes a field; anywhere else it is a note to the reader.
    for block in () if isinstance(node, ast.ClassDef) else ("body", "orelse", "finalbody"):
        statements = getattr(node, block, None)
        if isinstance(statements, list):
            statements[:] = _plain_assignments(cast("list[ast.stmt]", statements))
    if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and getattr(node, "body", None) == []:
        node.body = [ast.Pass()]  # type: ignore[union-attr]


def _pieces(values: list[ast.expr]) -> Iterator[ast.expr]:
    """The pieces of an f-string: Python 3.12 has empty ones in places."""
    for value in values:
        if not (isinstance(value, ast.Constant) and value.value == ""):
            yield value


def _plain_assignments(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for each in statements:
        if not isinstance(each, ast.AnnAssign):
            yield each
        elif each.value is not None:
            yield ast.copy_location(ast.Assign([each.target], each.value), each)


def tree_text(node: FunctionNode) -> str:
    """The syntax tree as text: no name, no decorators, no positions, and no field that is empty.

    The walk is our own, because `ast.dump` prints other fields in every Python version, and it keeps a stack of
    its own, because generated scorecards are deeper than Python calls.
    """
    out: list[str] = []
    stack: list[object] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item, list):
            out.append("[")
            stack.append("]")
            for each in reversed(cast("list[object]", item)):
                stack += [",", each if isinstance(each, ast.AST) else _leaf(each)]
        elif isinstance(item, ast.AST):
            out.append(f"{type(item).__name__}(")
            stack.append(")")
            silent = _NAMELESS_FIELDS if item is node else _SILENT_FIELDS
            for name, value in reversed(list(ast.iter_fields(item))):
                if name not in silent and value is not None and value != []:
                    stack += [",", value if isinstance(value, list | ast.AST) else _leaf(value), f"{name}="]
    return "".join(out)


def _leaf(value: object) -> str:
    # `repr` of text depends on which characters a Python version can print; that of a huge number is refused.
    return hex(value) if type(value) is int and value.bit_length() > 1000 else ascii(value)


def code_text(found: FunctionText) -> str:
    """The function as Python writes it, without decorators, docstring and annotations; as it was written where
    Python cannot (too deep).
    """
    node = found.node
    if not isinstance(node, ast.Lambda):
        node = copy.copy(node)
        node.decorator_list = []
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):  # ValueError: Python 3.11 and backslashes within an f-string
        return found.written


# ------------------------------------------------------------------------------------------- what a function reads
def names_read(found: FunctionText, free: tuple[str, ...]) -> set[str]:
    """The names that a function and the functions within it read from outside: globals, builtins, and those of
    its free variables that it uses.
    """
    # Its own name is one that it reads: what stands there by now may be something else.
    code = re.sub(r"\bdef\s+\w+", "def __function__", code_text(found), count=1)
    text = textwrap.indent(f"({code_text(found)})" if isinstance(found.node, ast.Lambda) else code, " ")
    # Within a function that has its free variables, so that there is a scope to find them in.
    try:
        table = symtable.symtable(f"def _({', '.join(free)}):\n{text}\n", "<source>", "exec")
    except (SyntaxError, RecursionError, MemoryError):
        return {node.id for node in ast.walk(found.node) if isinstance(node, ast.Name)}
    found_names: set[str] = set()
    tables = table.get_children()[0].get_children()
    while tables:
        each = tables.pop()
        tables += each.get_children()
        for symbol in each.get_symbols():
            outside = symbol.is_global() or (symbol.is_free() and symbol.get_name() in free)
            if symbol.is_referenced() and outside:
                found_names.add(symbol.get_name())
    return found_names


def attributes_read(node: FunctionNode, name: str) -> set[tuple[str, ...]]:
    """The chains of attributes that are read of a name: `limits.card.MAX` is ("card", "MAX")."""
    chains: set[tuple[str, ...]] = set()
    for each in ast.walk(node):
        chain: list[str] = []
        inner: ast.AST = each
        while isinstance(inner, ast.Attribute):
            chain.insert(0, inner.attr)
            inner = inner.value
        if chain and isinstance(inner, ast.Name) and inner.id == name:
            chains.add(tuple(chain))
    return {
        chain for chain in chains if not any(longer[: len(chain)] == chain != longer for longer in chains)
    }
