"""Write what is made from the typed sections: config.schema.json and docs/configuration.md."""

from pathlib import Path

from pipeline_lib.models import MODELS
from pipeline_lib.study.reference import reference
from pipeline_lib.study.schema import schema_text

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parents[1] / "docs/configuration.md"

(FOLDER / "config.schema.json").write_text(schema_text(MODELS), encoding="utf-8")
PAGE.write_text(reference(MODELS), encoding="utf-8")
