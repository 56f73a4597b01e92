"""What every claim of the catalogue is evaluated from."""

from collections.abc import Mapping

from pipeline_lib.claims.experiment_evaluators import EXPERIMENT_EVALUATORS
from pipeline_lib.claims.source import Evaluation
from pipeline_lib.claims.theory_evaluators import THEORY_EVALUATORS

EVALUATORS: Mapping[str, Evaluation] = {**THEORY_EVALUATORS, **EXPERIMENT_EVALUATORS}
