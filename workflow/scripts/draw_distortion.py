"""Draw distorted digits over a grid of the distortion's parameters."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.data.mnist_table import distortion_sweep
from pipeline_lib.figures.distortion import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    settings = snakemake.params.distortion
    images = read_table(Path(snakemake.input.table), "mnist")
    figure = draw(*distortion_sweep(images, **settings), (settings["alpha"], settings["sigma"]))
    save_figure(figure, [Path(path) for path in snakemake.output])
