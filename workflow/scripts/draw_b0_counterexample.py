"""Draw the variances of the network at which the order in b fails."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.b0_counterexample import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    made_with = params.made_with
    table = read_table(Path(snakemake.input.table), "b0_counterexample", expected=made_with)
    figure = draw(table, params.runs, made_with["confidence_level"])
    save_figure(figure, [Path(path) for path in snakemake.output])
