"""No function of the library takes a crowd of parameters: what travels together is an object."""

import ast
from pathlib import Path

MOST = 7
# Compiled loops take the arrays themselves; a finding's keywords are the columns of the ledger.
EXCEPTIONS = {"_advance", "_advance_in_epochs", "_step", "finding"}


def test_no_function_takes_more_than_seven_parameters() -> None:
    crowds = {}
    for path in sorted((Path(__file__).resolve().parents[2] / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [one.arg for one in given if one.arg not in ("self", "cls")]
                if len(names) > MOST:
                    crowds[node.name] = f"{path.name}:{node.lineno} {names}"
    assert set(crowds) == EXCEPTIONS, crowds
