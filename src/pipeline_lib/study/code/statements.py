"""What a statement of Python says, without comments, docstrings and type hints."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# What only describes, in calls that define tables: places of arguments, and keywords.
_WORDS = {
    "column": ({2}, {"description", "unit", "formula"}),
    "table": ({0, 1}, {"description", "path", "refers"}),
}  # of artifacts.tables.columns

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Target(NamedTuple):
    """What an import names: a name of a module, or all of the module if ``name`` is None."""

    module: str
    name: str | None

    def __str__(self) -> str:
        return f"{self.module}:{self.name or ''}"


@dataclass(frozen=True)
class Statement:
    """One statement, written out as ``text``, and what it may depend on.

    names: names that it uses, those of local variables too.
    words: the attributes and the strings in it, as ``model.train`` gives ``train``.
    says_any: whether ``getattr`` is called with a name that is put together.
    imports: what it imports itself.
    bases: of a class that is taken apart, the names of its base classes; not among ``names``.
    parts: of a class that is taken apart, its methods, and of a table, its entries; not among the
        text. Methods that may be called without being named stay in the text: ``__init__`` and
        its like, and those with a decorator of their own.
    """

    text: str
    names: frozenset[str]
    words: frozenset[str]
    imports: tuple[Target, ...]
    says_any: bool
    bases: tuple[str, ...] = ()
    parts: tuple[tuple[str, "Statement"], ...] = ()


def imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Target]]:
    """The names that ``node`` binds in a module of ``package``, and what they stand for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], Target(alias.name, None)
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        if alias.name == "*":
            raise SyntaxError(
                f"import * from {module} hides which names are used; allowed: imports by name",
                ("", node.lineno, node.col_offset, None),
            )
        yield alias.asname or alias.name, Target(module, alias.name)


class Writer:
    """Writes a syntax tree as text of its own, which does not change from one Python to another."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._names: set[str] = set()
        self._words: set[str] = set()
        self._imports: list[Target] = []
        self._says_any = False

    def statement(self, node: ast.AST) -> Statement:
        text = self._write(node, annotated=False)
        names, words = frozenset(self._names), frozenset(self._words)
        return Statement(text, names, words, tuple(self._imports), self._says_any)

    def _write(self, node: ast.AST, annotated: bool) -> str:
        """``annotated``: whether the hints in ``node`` may decide something.

        They may in the body of a class, which dataclasses read, and under a decorator.
        """
        self._note(node, annotated)
        if isinstance(node, ast.Call):
            node = _without_words(node)
        decorated = isinstance(node, Function) and bool(node.decorator_list)
        parts = [type(node).__name__]
        for name, value in ast.iter_fields(node):
            if isinstance(node, Function):
                annotated = decorated and name != "body"
            elif isinstance(node, ast.ClassDef):
                annotated = name == "body"
            if name in ("annotation", "returns") and not annotated:
                continue
            if name in ("ctx", "kind", "type_comment") or value is None or value == []:
                continue
            parts.append(f"{name}={self._write_field(value, annotated)}")
        return f"({' '.join(parts)})"

    def _write_field(self, value: object, annotated: bool) -> str:
        if isinstance(value, ast.AST):
            return self._write(value, annotated)
        if isinstance(value, list):
            kept = [item for item in value if not is_silent(item, annotated)]
            return f"[{' '.join(self._write_field(item, annotated) for item in kept)}]"
        return repr(value)

    def _note(self, node: ast.AST, annotated: bool) -> None:
        match node:
            case ast.Name():
                self._names.add(node.id)
            case ast.Attribute():
                self._words.add(node.attr)
            case ast.Constant(value=str(text)):
                self._words.add(text)
                if annotated and text.isidentifier():  # a hint in quotes
                    self._names.add(text)
            case ast.Import() | ast.ImportFrom():
                self._imports += [target for _, target in imported(node, self._package)]
            case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]):
                if not isinstance(name, ast.Constant | ast.Name):
                    self._says_any = True


def _without_words(node: ast.Call) -> ast.Call:
    """``node`` without arguments that describe a column or a table."""
    if not isinstance(node.func, ast.Name) or node.func.id not in _WORDS:
        return node
    places, names = _WORDS[node.func.id]
    args = [value for place, value in enumerate(node.args) if place not in places]
    return ast.Call(node.func, args, [each for each in node.keywords if each.arg not in names])


def is_silent(node: object, annotated: bool) -> bool:
    """Whether ``node`` does nothing: a docstring, ``pass``, or a hint without a value."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None and not annotated
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )
