"""Draw the variance of the stochastic gradient by batch size: Figure 6."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.gradient_variance import draw
from pipeline_lib.figures.numbers import image_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw(
        read_table(Path(snakemake.input.variance), "variance", expected=params.made_with),
        params.made_with["confidence_level"],
        image_note(params),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
