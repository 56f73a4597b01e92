"""Draw the variance from several initial weights: Figure 3a."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.initial_weights import draw
from pipeline_lib.figures.numbers import image_note, scale_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw(
        read_table(Path(snakemake.input.variance), "variance", expected=params.made_with),
        scale_note({"initial weights": (params.inits, params.paper_inits)})
        + ", "
        + image_note(params, "runs from each"),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
