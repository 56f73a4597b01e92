"""The search for the code behind a script: `pipeline_lib.study.code` says what counts."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline_lib.study.code.modules import Module
from pipeline_lib.study.code.statements import Statement, Target

# Modules that decide what is told or asked of a cluster, not what is computed, and the one that
# reads the configuration: its values are parameters of the rules, which Snakemake compares itself.
WITHOUT_NUMBERS = frozenset({"errors", "logs", "study.config", "study.cost"})
# The table of all models; a job depends on its own.
MODELS = Target("models", "MODELS")
# Tables of which a job depends on the entries that its code names.
BY_ENTRY = frozenset(
    {
        Target("artifacts.schemas", "SCHEMAS"),
        *(
            Target(f"artifacts.tables.{part}", part.upper())
            for part in (
                "claims", "data", "estimates", "exact", "fits", "networks", "regression", "runs",
            )
        ),
    }
)  # fmt: skip

# Packages of others that decide no number either: they check the configuration, draw progress bars,
# and read and write files.
PACKAGES_WITHOUT_NUMBERS = frozenset({"pyarrow", "pydantic", "pydantic-core", "pyyaml", "tqdm"})
# What is imported under another name than that of its package.
PACKAGE_OF = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}

_Key = tuple[str, str]  # module and name


class Library:
    """The modules of one package, each parsed once.

    Args:
        source: the folder in which the package lies.
        package: its name.
        lock: a file with the versions of the packages of others, as `name==version` lines.
    """

    def __init__(
        self, source: Path, package: str = "pipeline_lib", lock: Path | None = None
    ) -> None:
        self._source = source
        self.package = package
        self.lock = lock
        self._versions: dict[str, list[str]] | None = None
        self._modules: dict[str, Module | None] = {}

    @property
    def folder(self) -> Path:
        """The folder of the package itself."""
        return self._source / self.package

    def module(self, name: str) -> Module | None:
        """A module by its full name; None if the package has none of this name."""
        if name not in self._modules:
            self._modules[name] = self._parsed(name)
        return self._modules[name]

    def versions(self, module: str) -> list[str]:
        """The lines of the lock file on the package of others that ``module`` belongs to."""
        if self._versions is None:
            self._versions = {}
            for line in self.lock.read_text(encoding="utf-8").splitlines() if self.lock else ():
                if found := re.match(r"[\w.-]+(?===)", line):
                    self._versions.setdefault(found[0], []).append(line)
        top = module.partition(".")[0]
        package = PACKAGE_OF.get(top, top.replace("_", "-").lower())
        return [] if package in PACKAGES_WITHOUT_NUMBERS else self._versions.get(package, [])

    def _parsed(self, name: str) -> Module | None:
        if not f"{name}.".startswith(f"{self.package}."):
            return None
        path = self._source.joinpath(*name.split("."))
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return Module(file, name)
        return None

    def search(self, script: Path, models: Iterable[str] = ()) -> "Found":
        """The code behind ``script``; ``models`` as in `Digests.of`."""
        found = Found(self)
        found.add_script(script)
        if found.uses_models:
            for reference in models:
                found.add_model(reference)
        return found


class Found:
    """What a search has found so far.

    texts: the statements, by module and name.
    uses_models: whether the code uses the table of all models.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self.texts: dict[_Key, list[str]] = {}
        self.uses_models = False
        self._folders: set[Path] = set()
        self._words: set[str] = set()
        self._versions: set[str] = set()
        self._says_any = False
        # Methods and entries whose name has not been met.
        self._waiting: dict[str, list[tuple[str, str, Statement]]] = {}
        self._left: list[tuple[str, Statement]] = []
        # Names in the script itself, which is no module of the library.
        self._script: Module | None = None

    @property
    def modules(self) -> set[str]:
        """All modules that are imported on the way, by their full names."""
        return {module for module, name in self.texts if module and not name}

    def add_script(self, path: Path) -> None:
        """Follow all of a script."""
        self._script = Module(path, "")
        for name in self._script.definitions:
            self._add_name("", name)
        self._add_acts("", self._script)
        self._follow()

    def add_model(self, reference: str) -> None:
        """Follow the class ``package.module:Class``, taken apart.

        Raises ValueError if there is no such class.
        """
        module, _, name = reference.partition(":")
        found = self._module(module)
        if found is None or name not in found.definitions:
            raise ValueError(f"{reference!r} is no class of {self._library.package}")
        self._add_class(module, name)
        self._follow()

    def digest(self) -> str:
        """A fingerprint of all that was found."""
        told = hashlib.sha256()
        for (module, name), texts in sorted(self.texts.items()):
            if texts:
                told.update("\n".join([f"{module}:{name}", *texts, ""]).encode())
        for line in sorted(self._versions):
            told.update(f"{line}\n".encode())
        for folder in sorted(self._folders):
            for file in sorted(folder.iterdir()):
                if file.name in self._words and file.suffix != ".py" and file.is_file():
                    told.update(f"{file.name}\n".encode() + file.read_bytes())
        return told.hexdigest()[:32]

    def _module(self, name: str) -> Module | None:
        return self._library.module(name) if name else self._script

    def _follow(self) -> None:
        while self._left:
            name, statement = self._left.pop()
            module = self._module(name)
            assert module is not None
            for used in statement.names:
                if module.binds(used):
                    self._add_name(name, used)
            for target in statement.imports:
                self._add_target(target)
            for word in statement.words - self._words:
                self._words.add(word)
                for part in self._waiting.pop(word, ()):
                    self._add(*part)
            if statement.says_any:
                self._says_any = True
                for part in (part for parts in self._waiting.values() for part in parts):
                    self._add(*part)
                self._waiting.clear()

    def _add(self, module: str, name: str, statement: Statement) -> None:
        self.texts.setdefault((module, name), []).append(statement.text)
        self._left.append((module, statement))

    def _add_name(self, module: str, name: str) -> None:
        """A name that ``module`` binds; what it stands for, if it is imported."""
        if self._is_cut(module, name) or (module, name) in self.texts:
            return
        found = self._module(module)
        assert found is not None
        targets = found.imports.get(name, [])
        self.texts[module, name] = [str(target) for target in targets]
        for target in targets:
            self._add_target(target)
        apart = any(self._is(table, module, name) for table in BY_ENTRY)
        for node in found.definitions.get(name, ()):
            statement = found.statement(node, apart)
            self._add(module, name, statement)
            self._wait(module, name, statement)

    def _wait(self, module: str, name: str, statement: Statement) -> None:
        for word, part in statement.parts:
            if self._says_any or word in self._words:
                self._add(module, f"{name}.{word}", part)
            else:
                self._waiting.setdefault(word, []).append((module, f"{name}.{word}", part))

    def _add_class(self, module: str, name: str) -> None:
        """A class taken apart, and so its bases in the library."""
        found = self._module(module)
        key = f"{name} apart"
        if found is None or (module, key) in self.texts:
            return
        self._enter(module)
        for target in found.imports.get(name, ()):
            if target.name is not None:
                self._add_class(target.module, target.name)
        for node in found.definitions.get(name, ()):
            statement = found.statement(node, apart=True)
            self._add(module, key, statement)
            self._wait(module, key, statement)
            for base in statement.bases:
                self._add_class(module, base)

    def _add_target(self, target: Target) -> None:
        """What an import names; of what lies outside the library, the version."""
        module, name = target
        around = self._library.module(module)
        if around is None:
            self._versions.update(self._library.versions(module))
            return
        self._enter(module)
        inner = f"{module}.{name}"
        if name is None:
            self._add_all(module)
        # A package that imports a module of its own binds the name to that module.
        elif around.binds(name) and target not in around.imports.get(name, ()):
            self._add_name(module, name)
        elif self._library.module(inner) is not None:
            self._enter(inner)
            self._add_all(inner)
        elif around.binds("__getattr__"):
            self._add_name(module, "__getattr__")

    def _add_all(self, name: str) -> None:
        """Every name of a module, as it may be asked for any of them."""
        module = self._library.module(name)
        if module is None or (name, "*") in self.texts:
            return
        self.texts[name, "*"] = []
        for bound in [*module.definitions, *module.imports]:
            self._add_name(name, bound)
        # Modules of a package, which may be asked of it as ``package.module``.
        self._wait(name, "*", module.inner_modules())

    def _enter(self, name: str) -> None:
        """What importing a module runs: it, the packages around it and what it imports."""
        to_enter = [name]
        while to_enter:
            name = to_enter.pop()
            module = self._library.module(name)
            if module is None or (name, "") in self.texts:
                continue
            self._add_acts(name, module)
            to_enter.append(name.rpartition(".")[0])
            for target in (target for targets in module.imports.values() for target in targets):
                to_enter += [target.module, f"{target.module}.{target.name}"]

    def _add_acts(self, name: str, module: Module) -> None:
        self.texts[name, ""] = []
        if self._is_cut(name, ""):
            return
        self._folders |= {module.folder} if name else set()
        for node in module.acts:
            self._add(name, "", module.statement(node))
        if not name:
            for target in (target for targets in module.imports.values() for target in targets):
                self._enter(target.module)
                self._enter(f"{target.module}.{target.name}")

    def _is(self, target: Target, module: str, name: str) -> bool:
        return (module, name) == (f"{self._library.package}.{target.module}", target.name)

    def _is_cut(self, module: str, name: str) -> bool:
        if self._is(MODELS, module, name):
            self.uses_models = True
            return True
        return module.removeprefix(f"{self._library.package}.") in WITHOUT_NUMBERS
