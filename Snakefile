# The study as a map: configuration, paths, stages, targets.
#
#   results/{scale}/
#     data/{dataset}.parquet, .json                                raw data, checked, and its origin
#     weights/experiment={e}/init={i}.safetensors                  initial weights
#     runs/experiment={e}/init={i}/b={b}/seed={s}/*.parquet        one training block
#     variance/{e}.parquet, {e}_efficiency.parquet                 estimates with intervals
#     metrics/{e}.parquet                                          losses and errors over runs
#     verdicts/{e}.parquet, .md                                    order of an own experiment
#     theory/{e}.parquet, {e}_loss.parquet, {e}_polynomial.parquet exact values
#     theory/scalar_network*.parquet                               the network of one unit a layer
#     heavy_tails/estimates.parquet, repeats.parquet               its estimates against exact values
#     fits/{e}.parquet, {e}_curves.parquet                         polynomial fits
#     claims.parquet, claims.md                                    verdict on every claim
#     figures/fig1a.svg, .png ...
#     pages/claims.html ..., report.html, report.zip               `make report`
#
# `snakemake --cores all` builds everything, `snakemake --cores all fig1b` one figure and only what
# it needs. Other scales: `--config scale=smoke`. Every rule can be read alone.


# Not `workflow.basedir`, which is another folder where a Snakefile uses this one as a module.
CHECKOUT = Path(workflow.current_basedir)


include: "workflow/rules/configuration.smk"


configfile: f"{CHECKOUT}/config.yaml"


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
            figure=FIGURES,
            format=["svg", "png"],
        ),
        expand(f"{RESULTS}/variance/{{experiment}}.parquet", experiment=study.chosen),
        expand(
            f"{RESULTS}/theory/{{experiment}}.parquet", experiment=chosen(WITH_THEORY)
        ),
        expand(
            [
                f"{RESULTS}/theory/{{experiment}}_polynomial.parquet",
                f"{RESULTS}/fits/{{experiment}}.parquet",
            ],
            experiment=chosen(FITTED),
        ),
        expand(
            [
                f"{RESULTS}/figures/{{experiment}}_variance.svg",
                f"{RESULTS}/figures/{{experiment}}_variance.png",
                f"{RESULTS}/verdicts/{{experiment}}.md",
            ],
            experiment=chosen(OWN),
        ),
        expand(
            f"{RESULTS}/metrics/{{experiment}}.parquet",
            experiment=[name for name in chosen(OWN) if name in IN_EPOCHS],
        ),
        (
            [
                f"{RESULTS}/theory/scalar_network_degrees.parquet",
                f"{RESULTS}/claims.md",
            ]
            if study.builds_everything
            else []
        ),


include: "workflow/rules/data.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/own.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/report.smk"


# What a result was made with is its code too: found for every script, listed for none.
for each in workflow.rules:
    if is_script_of_this_study(each) and "code" not in each.params.keys():
        each.set_params(code=code_of(each.script))
