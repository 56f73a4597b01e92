# Blocks of replicas become one table of variances an experiment.


localrules:
    aggregate_variance,
    estimate_noise_scale,
    summarise_metrics,
    average_epochs,


rule aggregate_variance:
    """Pool the blocks; standard errors, confidence intervals and reliability of every estimate."""
    input:
        blocks=blocks_of,
    output:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
        efficiency=f"{RESULTS}/efficiency/{{experiment}}.parquet",
    log:
        f"{LOGS}/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/variance/{{experiment}}.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        blocks=block_keys,
    script:
        "../scripts/aggregate_variance.py"


rule estimate_noise_scale:
    """The gradient noise scale, a ratio of means over runs, with confidence intervals."""
    input:
        noise=noise_of,
    output:
        f"{RESULTS}/noise/{{experiment}}.parquet",
    log:
        f"{LOGS}/noise/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/noise/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(e for e in NOISE_SCALES if NOISE_SCALES[e] == "runs"),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        blocks=block_keys,
    script:
        "../scripts/noise_scale.py"


rule summarise_metrics:
    """Losses, errors and accuracy gaps: means over runs with confidence intervals."""
    input:
        metrics=metrics_of,
    output:
        f"{RESULTS}/metrics/{{experiment}}.parquet",
    log:
        f"{LOGS}/metrics/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/metrics/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(IN_EPOCHS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        blocks=block_keys,
    script:
        "../scripts/metric_tables.py"


rule average_epochs:
    """Variances averaged over the steps of each epoch, as in Figure 5."""
    input:
        variance=rules.aggregate_variance.output.variance,
    output:
        f"{RESULTS}/epoch_variance/{{experiment}}.parquet",
    log:
        f"{LOGS}/epoch_variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/epoch_variance/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(TRANSFORMERS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
    script:
        "../scripts/epoch_means.py"
