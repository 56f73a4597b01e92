"""Scripts of the workflow, which nothing imports, against the library."""

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "workflow/scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_what_a_script_imports_is_there(script: Path) -> None:
    imports = [
        node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    for node in imports:
        module = importlib.import_module(node.module)
        assert [name.name for name in node.names if not hasattr(module, name.name)] == []
