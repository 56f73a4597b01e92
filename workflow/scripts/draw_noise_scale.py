"""Draw the gradient noise scale of one experiment by batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.noise_scale import draw
from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.table), snakemake.params
    numbers = {
        "runs": params.runs if params.source == "runs" else None,
        **params.length,
        "training examples": read_provenance(path).get("n_rows"),
    }
    scale = scale_note({what: (number, number) for what, number in numbers.items() if number})
    figure = draw(
        read_table(path, "noise_scale", expected=params.made_with),
        params.made_with["confidence_level"],
        f"{snakemake.wildcards.experiment}: {scale}",
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
