"""Draw Figure 1b."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.fig1b import draw
from pipeline_lib.figures.numbers import sample_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw(
        read_table(Path(snakemake.input.variance), "variance", expected=params.made_with),
        read_table(Path(snakemake.input.theory), "theory", expected=params.made_with),
        read_table(Path(snakemake.input.curves), "fitted_curves", expected=params.made_with),
        params.made_with["confidence_level"],
        sample_note(
            params.runs,
            params.paper_runs,
            read_provenance(Path(snakemake.input.variance)).get("n_rows"),
            params.paper_rows,
        ),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
