"""A Python file as its top-level statements: what they bind, and what runs at import.

Nothing is imported or run: a file is parsed once, and a statement is written out when it is asked
for.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline_lib.study.code.statements import (
    Function,
    Statement,
    Target,
    Writer,
    imported,
    is_silent,
)

# Decorators that leave it to others to call a method by its name.
_CALLED_BY_NAME = {
    "abstractmethod", "cached_property", "classmethod", "override", "property", "staticmethod",
}  # fmt: skip


# Decorators of the package that make a class and do nothing else.
_ONLY_MAKE = {("study.section", "section")}


class Module:
    """The top-level statements of a file.

    imports: by the name that it binds, what is imported.
    definitions: by the name that it binds, every other statement that binds it.
    acts: statements that may change something when the module is imported, beside binding names:
        calls, assignments to what is no plain name, all kinds of ``if``, ``for``, ``try`` and
        ``with``, and functions and classes under a decorator of this package that may register
        them. Plain assignments, default values and bodies of classes are taken to change nothing
        else.

    Raises:
        SyntaxError: the file is not Python, or imports ``*``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.folder = path.parent
        self._package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.imports: dict[str, list[Target]] = {}
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.acts: list[ast.stmt] = []
        decorated = []
        for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for bound, target in imported(node, self._package):
                    self.imports.setdefault(bound, []).append(target)
                continue
            if is_silent(node, annotated=False) or _is_for_type_checkers(node):
                continue
            for bound in set(_bound(node)):
                self.definitions.setdefault(bound, []).append(node)
            if isinstance(node, Function | ast.ClassDef):
                decorated += [node] if node.decorator_list else []
            elif not _is_plain_assignment(node):
                self.acts.append(node)
        self.acts += [node for node in decorated if self._is_registered(node)]
        self._written: dict[tuple[int, bool], Statement] = {}
        self._name, self._is_package = name, path.name == "__init__.py"

    def binds(self, name: str) -> bool:
        """Whether ``name`` is one of the module's own or imported."""
        return name in self.definitions or name in self.imports

    def statement(self, node: ast.stmt, apart: bool = False) -> Statement:
        """``node`` written out, whole or taken apart."""
        key = id(node), apart
        if key not in self._written:
            write = self._taken_apart if apart else self._whole
            self._written[key] = write(node)
        return self._written[key]

    def inner_modules(self) -> Statement:
        """The modules that lie in this package, as parts that import them; none of a module."""
        nothing = Statement("", frozenset(), frozenset(), (), False)
        if not self._is_package:
            return nothing
        names = {path.stem for path in self.folder.iterdir() if path.suffix in ("", ".py")}
        targets = {name: Target(f"{self._name}.{name}", None) for name in names - {"__init__"}}
        parts = ((name, replace(nothing, imports=(targets[name],))) for name in sorted(targets))
        return replace(nothing, parts=tuple(parts))

    def _whole(self, node: ast.AST) -> Statement:
        return Writer(self._package).statement(node)

    def _taken_apart(self, node: ast.stmt) -> Statement:
        if isinstance(node, ast.ClassDef):
            return self._class_apart(node)
        table = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(table, ast.Dict):
            return self._whole(node)
        named, rest = [], ast.Dict([], [])
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                named.append((key.value, self._whole(value)))
            else:
                rest.keys.append(key)
                rest.values.append(value)
        return replace(self._whole(rest), parts=tuple(named))

    def _class_apart(self, node: ast.ClassDef) -> Statement:
        methods, rest, bases, outside = [], [], [], []
        for part in node.body:
            if isinstance(part, Function) and _is_called_by_name(part):
                methods.append((part.name, self._whole(part)))
            else:
                rest.append(part)
        for base in node.bases:
            named = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(named, ast.Name):
                bases.append(named.id)
                outside += [base.slice] if isinstance(base, ast.Subscript) else []
            else:
                outside.append(base)
        header = ast.ClassDef(node.name, outside, node.keywords, rest, node.decorator_list)
        said = self._whole(header)
        text = f"{said.text} {' '.join(bases)}"
        return replace(said, text=text, bases=tuple(bases), parts=tuple(methods))

    def _is_registered(self, node: ast.AST) -> bool:
        """Whether a decorator of ``node`` is, or belongs to, something of this package."""
        top = self._package.partition(".")[0]
        roots = {
            part.id
            for decorator in getattr(node, "decorator_list", ())
            for part in ast.walk(decorator)
            if isinstance(part, ast.Name)
        }
        imported_roots = [
            target.module
            for root in roots
            for target in self.imports.get(root, ())
            if (target.module.partition(".")[2], target.name) not in _ONLY_MAKE
        ]
        return bool(roots & self.definitions.keys()) or any(
            f"{module}.".startswith(f"{top}.") for module in imported_roots
        )


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    )


def _is_plain_assignment(node: ast.stmt) -> bool:
    targets: Iterable[ast.expr] = ()
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.Store)
    return bool(targets) and all(
        isinstance(part, plain) for target in targets for part in ast.walk(target)
    )


def _is_called_by_name(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = [ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list]
    return not node.name.startswith("__") and set(decorators) <= _CALLED_BY_NAME


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that ``node`` binds, or changes, at the level of the module."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Import() | ast.ImportFrom():
            yield from (bound for bound, _ in imported(node, ""))
        case ast.ExceptHandler(name=str(name)):
            yield name
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.comprehension) and name == "target":
            continue  # a name of the comprehension's own
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield from _bound(part)
