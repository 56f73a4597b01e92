# The study as a map: configuration, paths, stages, targets.
#
#   results/{scale}/
#     data/{dataset}.parquet, .json                                raw data, checked, and its origin
#     weights/experiment={e}/init={i}.safetensors                  initial weights
#     runs/experiment={e}/init={i}/b={b}/seed={s}/*.parquet        one training block
#     variance/{e}.parquet, {e}_efficiency.parquet                 estimates with intervals
#     theory/{e}.parquet, {e}_loss.parquet, {e}_polynomial.parquet exact values
#     theory/scalar_network*.parquet                               the network of one unit a layer
#     heavy_tails/estimates.parquet, repeats.parquet               its estimates against exact values
#     fits/{e}.parquet, {e}_curves.parquet                         polynomial fits
#     figures/fig1a.svg, .png ...
#
# `snakemake --cores all` builds everything, `snakemake --cores all fig1b` one figure and only what
# it needs. Other scales: `--config scale=smoke`. Every rule can be read alone.


configfile: "config.yaml"


include: "workflow/rules/common.smk"


wildcard_constraints:
    experiment="|".join(study.experiments),
    init=r"\d+",
    b=r"\d+",
    seed=r"\d+",


localrules:
    all,


# The default target; it is defined first because Snakemake takes the first rule.
rule all:
    """Every figure, table and exact result of the study."""
    input:
        expand(
            f"{RESULTS}/figures/{{figure}}.{{format}}",
            figure=["fig1a", "fig1b", "fig2a", "fig2b", "heavy_tails"],
            format=["svg", "png"],
        ),
        expand(
            f"{RESULTS}/variance/{{experiment}}.parquet", experiment=study.experiments
        ),
        expand(f"{RESULTS}/theory/{{experiment}}.parquet", experiment=WITH_THEORY),
        expand(f"{RESULTS}/theory/{{experiment}}_polynomial.parquet", experiment=FITTED),
        expand(f"{RESULTS}/fits/{{experiment}}.parquet", experiment=FITTED),
        f"{RESULTS}/theory/scalar_network_degrees.parquet",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/plan.smk"
