"""Draw the variance of the gradient of an experiment of the user's own, by batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.gradient_variance import draw
from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.variance), snakemake.params
    numbers = {
        "runs": params.runs,
        **params.length,
        "training examples": read_provenance(path)["n_rows"],
    }
    figure = draw(
        read_table(path, "variance", expected=params.made_with),
        params.made_with["confidence_level"],
        f"{snakemake.wildcards.experiment}: "
        + scale_note({what: (number, number) for what, number in numbers.items() if number}),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
