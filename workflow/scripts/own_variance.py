"""Draw the variance of the gradient of an experiment of the user's own, by batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.exact import read_theory, with_reason
from pipeline_lib.figures.gradient_variance import draw
from pipeline_lib.figures.own_note import own_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.variance), snakemake.params
    tensor = snakemake.wildcards.get("tensor", "all")
    note = with_reason(own_note(params, read_provenance(path)), params.uncovered)
    figure = draw(
        read_table(path, "variance", expected=params.made_with),
        params.made_with["confidence_level"],
        note if tensor == "all" else f"{tensor}\n{note}",
        theory=read_theory(snakemake.input.theory, params.made_with),
        tensor=tensor,
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
