"""Draw expected losses after equal epochs against the batch size."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.equal_epochs import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    losses = read_table(Path(snakemake.input.losses), "equal_epochs", expected=params.made_with)
    note = f"linear regression on {params.rows} rows of Graduate Admissions; exact"
    save_figure(draw(losses, note), [Path(path) for path in snakemake.output])
