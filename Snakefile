# The study as a map: configuration, paths, stages, targets.
#
#   results/{scale}/
#     data/{dataset}.parquet, .json                                raw data, checked, and its origin
#     figures/{e}_variance.svg, {e}_tensors, {e}_losses            of an own experiment
#     figures/{e}/variance_of_{tensor}.svg, pages/own/{e}.html     on demand; what came out of it
#     checks/{e}.{state}.json                                      own code, tried before it is used
#     weights/experiment={e}/init={i}.safetensors                  initial weights
#     runs/{table}/{e}/init_{i}/b_{b}/seed_{s}.parquet             one training block: statistics, ...
#     variance/{e}.parquet, efficiency/{e}, epoch_variance/{e}     estimates with intervals
#     noise/{e}.parquet                                            gradient noise scale, exact or estimated
#     metrics/{e}.parquet                                          losses and errors over runs
#     verdicts/{e}.parquet, .md                                    order of an own experiment
#     theory/variance/{e}.parquet, loss/{e}, polynomial/{e}        exact values
#     theory/precision/{e}.parquet, limits/{e}, test_loss/{e}      runs needed; large t; held-out rows
#     theory/scalar_variance.parquet, scalar_degrees, ...          the network of one unit a layer
#     theory/network_degrees.parquet, network_variance, ...        linear networks of several depths
#     theory/equal_epochs.parquet, sampling_schemes.parquet        other ways of drawing mini-batches
#     heavy_tails/estimates.parquet, repeats.parquet               its estimates against exact values
#     fits/{e}.parquet, fitted_curves/{e}.parquet                  polynomial fits
#     claims.parquet, claims.md                                    verdict on every claim
#     config.yaml, datapackage.json                                how it was made; all tables
#     figures/fig1a.svg, .png ...
#     pages/claims.html ..., report.html, report.zip               `make report`
#
# `snakemake --cores all` builds everything, `snakemake --cores all fig1b` one figure and only what
# it needs. Other scales: `--config scale=smoke`. Every rule can be read alone.

import atexit
import gc

# Jobs and their files stay until the end: a collector that walks through thousands of them again and
# again, and finds nothing, takes a tenth of a dry run. So it does when the interpreter ends.
gc.set_threshold(100_000)
atexit.register(gc.freeze)


# Not `workflow.basedir`, which is another folder where a Snakefile uses this one as a module.
CHECKOUT = Path(workflow.current_basedir)


include: "workflow/rules/configuration.smk"


configfile: f"{CHECKOUT}/config.yaml"


include: "workflow/rules/study.smk"
include: "workflow/rules/paths.smk"
include: "workflow/rules/code.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/described.smk"
include: "workflow/rules/targets.smk"


wildcard_constraints:
    experiment="|".join(study.experiments),
    init=r"\d+",
    b=r"\d+",
    seed=r"\d+",


from pipeline_lib.logs import errors_told


# What every training job would refuse is told before one starts: a GPU that is asked for and is not
# there, where jobs run here, and states of other code or configuration.
onstart:
    blocks = [
        job
        for job in workflow.dag.needrun_jobs()
        if job.rule.name.startswith("train_")
    ]
    if blocks and not workflow.touch:
        stop_if_stale(blocks)
        try:
            if workflow.local_exec:
                for wanted, granted in set(map(device_of_job, blocks)):
                    check_device(wanted, granted)
        except PipelineError as error:
            stop(error)


# What was wrong comes last, below Snakemake's own closing lines.
onerror:
    for line in reversed(errors_told(map(Path, log))):
        atexit.register(print, line, file=sys.stderr)


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
        OWN_FIGURES,
        expand(
            f"{RESULTS}/figures/{{experiment}}_noise_scale.{{format}}",
            experiment=chosen(NOISE_SCALES),
            format=["svg", "png"],
        ),
        FINAL_TABLES,
        f"{RESULTS}/config.yaml",
        f"{RESULTS}/datapackage.json",


include: "workflow/rules/data.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/exact_figures.smk"
include: "workflow/rules/own.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/describe.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/report.smk"


# What a result was made with is its code too: found for every script, listed for none.
for each in workflow.rules:
    if is_script_of_this_study(each) and "code" not in each.params.keys():
        each.set_params(code=code_of(each.script))
