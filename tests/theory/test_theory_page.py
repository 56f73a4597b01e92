"""The examples of docs/theory.md, run as they stand, with the output that the page shows."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/theory.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def test_every_example_prints_what_the_page_shows():
    text = PAGE.read_text(encoding="utf-8")
    examples = EXAMPLE.findall(text)
    assert len(examples) == text.count("```python") == text.count("\n## ")
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), {})
        assert printed.getvalue() == shown


def test_every_function_that_is_named_exists():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`theory\.(\w+)\.(\w+)`", text)
    assert len(named) >= 11
    for module, name in named:
        source = PAGE.parents[1] / f"src/pipeline_lib/theory/{module}.py"
        assert f"def {name}(" in source.read_text(encoding="utf-8")
