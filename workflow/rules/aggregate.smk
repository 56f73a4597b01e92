# Blocks of replicas become one table of variances an experiment.


localrules:
    aggregate_variance,
    summarise_metrics,
    average_epochs,


rule aggregate_variance:
    """Pool the blocks; standard errors, confidence intervals and reliability of every estimate."""
    input:
        blocks=blocks_of,
        code=modules(
            "estimation/aggregation",
            "estimation/statistics",
            "estimation/variance",
            "estimation/inference",
            "estimation/reliability",
        ),
    output:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
        efficiency=f"{RESULTS}/variance/{{experiment}}_efficiency.parquet",
    log:
        f"{LOGS}/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/variance/{{experiment}}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        confidence_level=study.confidence_level,
        config_digest=block_digest,
        blocks=block_keys,
    script:
        "../scripts/aggregate_variance.py"


rule summarise_metrics:
    """Losses, errors and accuracy gaps: means over runs with confidence intervals."""
    input:
        metrics=metrics_of,
        code=modules("estimation/metrics", "estimation/aggregation"),
    output:
        f"{RESULTS}/metrics/{{experiment}}.parquet",
    log:
        f"{LOGS}/metrics/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/metrics/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(IN_EPOCHS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        confidence_level=study.confidence_level,
        config_digest=block_digest,
        blocks=block_keys,
    script:
        "../scripts/metric_tables.py"


rule average_epochs:
    """Variances averaged over the steps of each epoch, as in Figure 5."""
    input:
        variance=rules.aggregate_variance.output.variance,
        code=modules(
            "estimation/epoch_means", "estimation/inference", "estimation/reliability"
        ),
    output:
        f"{RESULTS}/variance/{{experiment}}_epochs.parquet",
    log:
        f"{LOGS}/variance/{{experiment}}_epochs.log",
    benchmark:
        f"{BENCHMARKS}/variance/{{experiment}}_epochs.tsv"
    wildcard_constraints:
        experiment=any_of(TRANSFORMERS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        confidence_level=study.confidence_level,
    script:
        "../scripts/epoch_means.py"
