"""Draw the variance of the gradient of an experiment of the user's own, by batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.exact import read_theory, with_reason
from pipeline_lib.figures.gradient_variance import draw
from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log
from pipeline_lib.study.model import MEAN

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.variance), snakemake.params
    provenance = read_provenance(path)
    numbers = {
        "runs": params.runs,
        **params.length,
        "training examples": provenance["n_rows"],
    }
    scale = scale_note({what: (number, number) for what, number in numbers.items() if number})
    note = with_reason(f"{snakemake.wildcards.experiment}: {scale}", params.uncovered)
    loss = provenance.get("loss", MEAN)
    figure = draw(
        read_table(path, "variance", expected=params.made_with),
        params.made_with["confidence_level"],
        note if loss == MEAN else f"{note}\nloss: {loss}",
        theory=read_theory(snakemake.input.theory, params.made_with),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
