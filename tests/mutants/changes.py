"""The changes that are made to a module, one at a time: operators, conditions, numbers, calls."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from types import CodeType

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}

_CONTEXT = 60


@dataclass(frozen=True)
class Change:
    """One change of a module.

    name: `function: before -> after`, with ` #2` for the second one that looks the same: it stays the same
    while other lines of the module change. function: the qualified name of the outermost function, empty
    outside of functions. line: where it is; statement: the first line of its statement. code: of the changed
    module.
    """

    name: str
    function: str
    line: int
    statement: int
    code: CodeType


def changes(source: str, path: str) -> Iterator[Change]:
    """All changes of a module with that source, in no special order."""
    tree = ast.parse(source)
    around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    seen: dict[str, int] = {}
    for node in list(ast.walk(tree)):
        line, statement, shown, function = _place(node, around)
        if shown is None or _is_left_out(node, around, function):
            continue
        for holder, name, value in _alternatives(node, around):
            old = getattr(holder, name)
            # Of an `if` only the condition is shown.
            before = _text(old if name == "test" else shown)
            setattr(holder, name, value)
            after = _text(getattr(holder, name) if name == "test" else shown)
            what = f"{function or 'module'}: {_difference(before, after)}"
            seen[what] = seen.get(what, 0) + 1
            number = f" #{seen[what]}" if seen[what] > 1 else ""
            code = compile(ast.fix_missing_locations(tree), path, "exec")
            yield Change(what + number, function, line, statement, code)
            setattr(holder, name, old)


# Its line and that of its statement, the source that shows a change of it, the outermost function around.
def _place(node: ast.AST, around: dict[ast.AST, ast.AST]) -> tuple[int, int, ast.AST | None, str]:
    line, statement, shown, names, inside = 0, 0, None, [], node
    while inside in around:
        small = isinstance(inside, ast.Constant | ast.Name | ast.Attribute)
        if shown is None and isinstance(inside, ast.expr | ast.stmt) and not small:
            shown = inside
        line = line or getattr(inside, "lineno", 0)
        if isinstance(inside, ast.stmt):
            statement = statement or inside.lineno
        outer = around[inside]
        in_body = isinstance(outer, ast.FunctionDef | ast.ClassDef) and inside in outer.body
        if in_body and isinstance(outer, ast.FunctionDef):
            names = [outer.name]
        elif in_body and isinstance(outer, ast.ClassDef):
            names = [outer.name, *names] if names else []
        inside = outer
    return line, statement, shown, ".".join(names)


# Types, decorators, texts, raised errors, asserts, and what zip() asserts of its arguments.
def _is_left_out(node: ast.AST, around: dict[ast.AST, ast.AST], function: str) -> bool:
    inside = node
    while inside in around:
        outer = around[inside]
        if isinstance(inside, ast.Raise | ast.Assert | ast.JoinedStr):
            return True
        if isinstance(outer, ast.keyword) and outer.arg == "strict":
            return True
        if isinstance(outer, ast.AnnAssign | ast.arg) and inside is outer.annotation:
            return True
        if isinstance(outer, ast.FunctionDef) and inside is outer.returns:
            return True
        if isinstance(outer, ast.FunctionDef | ast.ClassDef) and inside in outer.decorator_list:
            return True
        if isinstance(inside, ast.If) and "TYPE_CHECKING" in _text(inside.test):
            return True
        inside = outer
    # Outside of functions `A | B` is a type.
    return not function and isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


# What can be set where, to what.
def _alternatives(node: ast.AST, around: dict[ast.AST, ast.AST]) -> Iterator[tuple[ast.AST, str, object]]:
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                other = _OPERATORS[type(operator)]()
                yield node, "ops", [*node.ops[:index], other, *node.ops[index + 1 :]]
        case ast.BoolOp() | ast.BinOp() | ast.AugAssign() if type(node.op) in _OPERATORS and not _is_text(
            node
        ):
            yield node, "op", _OPERATORS[type(node.op)]()
        case ast.UnaryOp(op=ast.Not()):
            yield node, "operand", ast.UnaryOp(ast.Not(), node.operand)
        case ast.Constant(value=bool() as value):
            yield node, "value", not value
        case ast.Constant(value=int() | float() as value):
            yield node, "value", value + 1
        case ast.Name(id=name) if name in _NAMES:
            yield node, "id", _NAMES[name]
        case ast.Attribute(attr=name) if name in _NAMES:
            yield node, "attr", _NAMES[name]
        case ast.If() | ast.While() | ast.IfExp() if isinstance(
            node.test, ast.Name | ast.Call | ast.Attribute
        ):
            yield node, "test", ast.UnaryOp(ast.Not(), node.test)
        case ast.Expr(value=ast.Call()) if around[node] in around:
            yield node, "value", ast.Constant(None)
        case ast.Break() | ast.Continue():
            yield node, "__class__", _OPERATORS[type(node)]


# Joined or formatted text: most changes of it would raise.
def _is_text(node: ast.BoolOp | ast.BinOp | ast.AugAssign) -> bool:
    parts = (
        [node.value]
        if isinstance(node, ast.AugAssign)
        else [node.left, node.right]
        if isinstance(node, ast.BinOp)
        else []
    )
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str | bytes))
        for part in parts
    )


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())


# Of long texts only what is near to the difference.
def _difference(before: str, after: str) -> str:
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])

    def cut(text: str) -> str:
        first, last = max(start - _CONTEXT, 0), len(text) - max(end - _CONTEXT, 0)
        return "..." * (first > 0) + text[first:last] + "..." * (last < len(text))

    return f"{cut(before)} -> {cut(after)}"


def _same(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
