"""Fit polynomials in 1/b and in c_b to the estimated variances; compare with the exact ones."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table
from pipeline_lib.fits.tables import fit_tables
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    made_with = snakemake.params.made_with
    provenance = read_provenance(Path(snakemake.input.variance))
    fits, curves = fit_tables(
        read_table(Path(snakemake.input.variance), "variance", expected=made_with),
        read_table(Path(snakemake.input.theory), "theory", expected=made_with),
        provenance["n_rows"],
        snakemake.params.steps,
        snakemake.params.degree,
    )
    write_table(Path(snakemake.output.fits), fits, "fits", provenance)
    write_table(Path(snakemake.output.curves), curves, "fitted_curves", provenance)
