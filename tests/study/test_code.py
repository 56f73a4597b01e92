"""The search for the code behind a script: what counts, what does not, what Python imports."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.study.code.digests import Digests
from pipeline_lib.study.code.search import Library

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))

FILES = {
    "pipeline_lib/__init__.py": '"""A library."""\n',
    "pipeline_lib/errors.py": "class PipelineError(Exception):\n    line = 1\n",
    "pipeline_lib/logs.py": "import pipeline_lib.errors\ndef job_log(path):\n    return path\n",
    "pipeline_lib/numbers.py": """
import math
from typing import Any

FACTOR: float = 2.0
UNUSED = 3

def scaled(value: float) -> float:
    '''A docstring.'''
    # A comment.
    rest: Any = math.floor(value)
    return FACTOR * value + rest

def unused(value):
    return UNUSED * value

class Moments:
    '''Of values.'''
    count: int = 0

    def mean(self):
        return scaled(self.count)

    def largest(self):
        return later(self)

def later(value):
    from pipeline_lib.deep import inner
    return inner(value)
""",
    "pipeline_lib/deep/__init__.py": "from pipeline_lib.deep.inside import inner\n",
    "pipeline_lib/deep/inside.py": """
def inner(value):
    return value

def other():
    pass
""",
    "pipeline_lib/deep/beside.py": "def aside():\n    return 1\n",
    "pipeline_lib/registry.py": """
from pipeline_lib.artifacts import schemas

KNOWN = {}

def known(function):
    KNOWN[function.__name__] = function
    return function
""",
    "pipeline_lib/registered.py": """
from pipeline_lib.registry import known

@known
def first():
    return 1

def second():
    return 2
""",
    "pipeline_lib/artifacts/__init__.py": "",
    "pipeline_lib/artifacts/schemas.py": """
def _schema(*names):
    return names

SCHEMAS = {"variance": _schema("b"), "losses": _schema("step")}
""",
    "pipeline_lib/artifacts/files.py": """
from pipeline_lib.artifacts.schemas import SCHEMAS

def read(path, kind):
    return SCHEMAS[kind]
""",
    "pipeline_lib/pages/__init__.py": "",
    "pipeline_lib/pages/page.py": "def page():\n    return asset('page.css')\n\ndef asset(name):\n"
    "    return name\n",
    "pipeline_lib/pages/page.css": "p {}\n",
    "pipeline_lib/pages/notes.txt": "nothing\n",
    "pipeline_lib/models/__init__.py": """
from importlib import import_module
from pipeline_lib.models.narrow import Narrow
from pipeline_lib.models.wide import Wide

MODELS = {"narrow": Narrow, "wide": Wide}

def model_of(kind):
    return MODELS[kind]()
""",
    "pipeline_lib/models/base.py": """
class Model:
    def train(self, weights):
        return self.block(weights)

    def memory(self):
        return 1
""",
    "pipeline_lib/models/narrow/__init__.py": """
from pipeline_lib.models.base import Model

class Narrow(Model):
    width: int = 1

    def __init__(self):
        self.scale = 2

    def block(self, weights):
        from pipeline_lib.models.narrow.heavy import train
        return train(weights)

    def cost(self):
        return 5

    @property
    def name(self):
        return "narrow"
""",
    "pipeline_lib/models/narrow/heavy.py": "def train(weights):\n    return weights\n",
    "pipeline_lib/models/wide.py": """
from pipeline_lib.models.base import Model

class Wide(Model):
    def block(self, weights):
        return None
""",
    "scripts/numbers.py": """
from pipeline_lib.logs import job_log
from pipeline_lib.numbers import Moments

with job_log("log"):
    print(Moments().mean())
""",
    "scripts/package.py": "from pipeline_lib import deep\n\nprint(deep.beside.aside())\n",
    "scripts/registered.py": "from pipeline_lib.registered import second\n\nprint(second())\n",
    "scripts/tables.py": "from pipeline_lib.artifacts.files import read\n\nread('p', 'losses')\n",
    "scripts/page.py": "from pipeline_lib.pages.page import page\n\nprint(page())\n",
    "scripts/train.py": "from pipeline_lib.models import model_of\n\nmodel_of('k').train([])\n",
}
NARROW, WIDE = "pipeline_lib.models.narrow:Narrow", "pipeline_lib.models.wide:Wide"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def digest(folder: Path, script: str, *models: str) -> str:
    return Library(folder).search(folder / f"scripts/{script}.py", models).digest()


def edited(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    assert path.read_text().count(old) >= 1
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers.py", "# A comment.", "# Another, longer comment."),
        ("numbers.py", "'''A docstring.'''", "'''Another.'''"),
        ("numbers.py", "    '''Of values.'''\n", ""),
        ("numbers.py", "(value: float) -> float", "(value)"),
        ("numbers.py", "rest: Any =", "rest: float ="),
        ("numbers.py", "    return FACTOR * value + rest", "    return (FACTOR*value\n    +rest)"),
        ("numbers.py", "UNUSED = 3", "UNUSED = 4"),
        ("numbers.py", "return UNUSED * value", "return value"),
        ("numbers.py", "import math", "import math\nimport json"),
        ("deep/inside.py", "    pass", "    return 7"),
        ("deep/beside.py", "return 1", "return 2"),
        ("errors.py", "line = 1", "line = 2"),
        ("logs.py", "return path", "return print(path)"),
    ],
)
def test_what_decides_nothing_does_not_count(folder, name, old, new):
    before = digest(folder, "numbers")
    edited(folder, f"pipeline_lib/{name}", old, new)
    assert digest(folder, "numbers") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers.py", "FACTOR: float = 2.0", "FACTOR: float = 2"),
        ("numbers.py", "FACTOR * value", "value * FACTOR"),
        ("numbers.py", "math.floor", "math.ceil"),
        ("numbers.py", "import math", "import cmath as math"),
        ("numbers.py", "count: int = 0", "count: float = 0"),  # a dataclass would read it
        ("numbers.py", "def scaled(value", "@print\ndef scaled(value"),
        ("numbers.py", "UNUSED = 3", "print(3)"),
        ("numbers.py", "UNUSED = 3", "if True:\n    FACTOR = 7"),
        ("numbers.py", "UNUSED = 3", "FACTOR += 1"),
        ("numbers.py", "UNUSED = 3", "math.inf = 3"),
        ("deep/inside.py", "return value", "return 2 * value"),  # imported within a function
        ("deep/__init__.py", "import inner", "import other as inner"),
        ("deep/inside.py", "def other", "print(1)\n\ndef other"),
        ("__init__.py", '"""A library."""', "import os\nos.environ['A'] = 'B'\n"),
    ],
)
def test_what_may_decide_something_counts(folder, name, old, new):
    before = digest(folder, "numbers")
    edited(folder, f"pipeline_lib/{name}", old, new)
    assert digest(folder, "numbers") != before


def test_the_script_counts_but_for_its_comments(folder):
    before = digest(folder, "numbers")
    edited(folder, "scripts/numbers.py", "with", "# Here.\nwith")
    assert digest(folder, "numbers") == before
    edited(folder, "scripts/numbers.py", "print(", "repr(")
    assert digest(folder, "numbers") != before


@pytest.mark.parametrize("line", ["from . import beside", "from pipeline_lib.deep import beside"])
def test_a_package_may_import_its_own_modules(folder, line):
    """Of a name that stands for itself the module is meant."""
    edited(folder, "pipeline_lib/deep/__init__.py", "from", f"{line}\nfrom")
    edited(folder, "scripts/package.py", "import deep", "import deep as d")
    edited(folder, "scripts/package.py", "deep.beside.aside()", "d")
    before = digest(folder, "package")
    edited(folder, "pipeline_lib/deep/beside.py", "return 1", "return 2")
    assert digest(folder, "package") != before


def test_functions_may_change_their_order(folder):
    before = digest(folder, "numbers")
    path = folder / "pipeline_lib/numbers.py"
    tree = ast.parse(path.read_text())
    path.write_text(ast.unparse(ast.Module([*tree.body[:4], *reversed(tree.body[4:])], [])))
    assert digest(folder, "numbers") == before


@pytest.mark.parametrize(
    ("script", "name", "counts"),
    [
        ("package", "deep/beside.py", True),  # asked of the package as an attribute
        ("package", "deep/inside.py", True),
        ("registered", "registered.py", True),  # the function beside it is registered at import
        ("registered", "registry.py", True),
        ("page", "pages/page.css", True),
        ("page", "pages/notes.txt", False),
    ],
)
def test_files_that_count_without_an_import_of_their_names(folder, script, name, counts):
    before = digest(folder, script)
    path = folder / "pipeline_lib" / name
    text = path.read_text()
    path.write_text(text.replace("return", "return 0,") if name.endswith("py") else f"{text} ")
    assert (digest(folder, script) != before) == counts


@pytest.mark.parametrize(("old", "counts"), [('"step"', True), ('"b"', False)])
def test_of_the_schemas_those_named_in_the_code_count(folder, old, counts):
    before = digest(folder, "tables")
    edited(folder, "pipeline_lib/artifacts/schemas.py", old, '"other"')
    assert (digest(folder, "tables") != before) == counts


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("narrow/heavy.py", "return weights", "return -weights", True),
        ("narrow/__init__.py", "return train(weights)", "return train(-weights)", True),
        ("narrow/__init__.py", "self.scale = 2", "self.scale = 3", True),
        ("narrow/__init__.py", "width: int = 1", "width: int = 2", True),
        ("base.py", "return self.block(weights)", "return self.block(0)", True),
        ("__init__.py", "return MODELS[kind]()", "return MODELS[kind]", True),
        ("narrow/__init__.py", "return 5", "return 6", False),
        ("narrow/__init__.py", 'return "narrow"', 'return "n"', False),
        ("base.py", "return 1", "return 2", False),
        ("wide.py", "return None", "return 0", False),
        ("__init__.py", '"wide": Wide', '"broad": Wide', False),
    ],
)
def test_of_the_models_the_job_s_own_counts_by_the_methods_that_are_called(
    folder, name, old, new, counts
):
    before = digest(folder, "train", NARROW)
    edited(folder, f"pipeline_lib/models/{name}", old, new)
    assert (digest(folder, "train", NARROW) != before) == counts


def test_a_method_asked_for_by_a_name_put_together_may_be_any(folder):
    edited(folder, "scripts/train.py", "model_of('k')", "getattr(model_of('k'), 'c' + 'ost')")
    before = digest(folder, "train", NARROW)
    edited(folder, "pipeline_lib/models/narrow/__init__.py", "return 5", "return 6")
    assert digest(folder, "train", NARROW) != before


def test_models_count_only_where_their_table_is_used(folder):
    assert digest(folder, "numbers", NARROW) == digest(folder, "numbers", WIDE)
    assert digest(folder, "train", NARROW) != digest(folder, "train", WIDE)
    with pytest.raises(ValueError, match=r"'pipeline_lib.models:Broad' is no class"):
        digest(folder, "train", "pipeline_lib.models:Broad")


def test_an_import_of_everything_is_refused(folder):
    edited(folder, "scripts/numbers.py", "import Moments", "import *")
    with pytest.raises(SyntaxError, match="hides which names are used"):
        digest(folder, "numbers")


def test_digests_are_kept_until_code_is_edited(folder, monkeypatch):
    kept = folder / "kept/digests.json"

    def fresh() -> Digests:
        return Digests(Library(folder), folder / "scripts", kept)

    first = fresh().of("numbers.py")
    # What Python and numba keep is no code.
    for name in ("numbers.cpython-311.pyc", "numbers.scaled-4.py311.nbi"):
        (folder / "pipeline_lib/__pycache__").mkdir(exist_ok=True)
        (folder / "pipeline_lib/__pycache__" / name).touch()
    monkeypatch.setattr(Library, "search", None)  # not searched again
    assert fresh().of("numbers.py") == first
    monkeypatch.undo()
    for broken in ("", "{", "[]", "null"):
        kept.write_text(broken)
        assert fresh().of("numbers.py") == first
    edited(folder, "pipeline_lib/numbers.py", "return FACTOR", "return 1 + FACTOR")
    assert fresh().of("numbers.py") != first
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    assert fresh().of("numbers.py") == digest(folder, "numbers")


IMPORT_ALL = """
import ast, json, runpy, sys
from pathlib import Path

found = {}
for script in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "pipeline_lib"]:
        del sys.modules[name]
    tree = ast.parse(Path(script).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), script, "exec"), {})
    found[script] = [name for name in sys.modules if name.split(".")[0] == "pipeline_lib"]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_modules_are_those_that_python_imports():
    """But for the imports within functions, which Python has not met before they are called."""
    command = [sys.executable, "-c", IMPORT_ALL, *map(str, SCRIPTS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported = json.loads(done.stdout.splitlines()[-1])
    assert len(imported) == len(SCRIPTS) > 30
    library = Library(ROOT / "src")
    within_functions = {
        f"{node.module}.{alias.name}" if library.module(f"{node.module}.{alias.name}")
        else str(node.module)
        for path in (ROOT / "src").rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    equal = 0
    for script, modules in imported.items():
        found = library.search(Path(script)).modules
        assert set(modules) <= found, script
        if not found & within_functions:
            assert found == set(modules), script
            equal += 1
    assert equal > len(SCRIPTS) / 2


# What the search cannot follow: names looked up when the code runs, lists that fill themselves.
UNSEEN = {
    "__annotations__", "__import__", "__init_subclass__", "__subclasses__", "eval", "exec",
    "get_type_hints", "globals", "signature",
}  # fmt: skip
ALLOWED = {
    # An evaluation mode of torch, not Python's `eval`.
    ("training/module_stack.py", "eval"),
    ("models/module/own_module.py", "eval"),
}


def test_the_library_does_nothing_that_the_search_cannot_follow():
    used = set()
    for path in [*(ROOT / "src/pipeline_lib").rglob("*.py"), *SCRIPTS]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
            if isinstance(node, ast.ClassDef) and any(
                keyword.arg == "metaclass" for keyword in node.keywords
            ):
                name = "metaclass"
            if name == "eval" and isinstance(node, ast.Attribute):
                continue  # of a torch module, which evaluates no text
            if name in UNSEEN | {"import_module", "metaclass"}:
                short = str(path).partition("/pipeline_lib/")[2] or path.name
                used.add((short, name))
    # Code of the user's own is an input of its rules.
    assert used - ALLOWED == {("imports.py", "import_module")}


def test_a_job_depends_on_its_own_kind_of_model_and_on_no_other() -> None:
    reference = "pipeline_lib.models.perceptron.settings:Perceptron"
    script = ROOT / "workflow/scripts/train_block.py"
    found = Library(ROOT / "src").search(script, [reference])
    kinds = {
        module.split(".")[2]
        for (module, _), texts in found.texts.items()
        if texts and module.startswith("pipeline_lib.models.") and module.count(".") > 2
    }
    assert kinds == {"perceptron"}


@pytest.mark.parametrize(
    ("old", "new", "reruns"),
    [
        ('"Share of the estimate that its largest contribution carries"', '"A share"', False),
        ("max_r y_r / sum_r y_r", "max y / sum y", False),
        ('"variance/{experiment}.parquet"', '"elsewhere/{experiment}.parquet"', False),
        ('"max_share", FLOAT', '"max_share", INT', True),
        ('key=("init", "b", "quantity"', 'key=("b", "init", "quantity"', True),
    ],
)
def test_words_about_a_table_rerun_nothing_and_its_types_do(tmp_path, old, new, reruns):
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src/pipeline_lib", source / "pipeline_lib")
    script = ROOT / "workflow/scripts/epoch_means.py"
    before = Library(source).search(script).digest()
    changed = 0
    for path in (source / "pipeline_lib/artifacts/tables").glob("*.py"):
        text = path.read_text()
        changed += old in text
        path.write_text(text.replace(old, new))
    assert changed
    assert (Library(source).search(script).digest() != before) == reruns
