# Blocks of replicas become one table of variances an experiment.


localrules:
    aggregate_variance,


def blocks_of(wildcards):
    """The statistics of every block of the job's experiment."""
    experiment = experiment_of(wildcards)
    return expand(
        rules.train_block.output.statistics,
        experiment=wildcards.experiment,
        init=range(experiment.initial_weights.count),
        b=experiment.batch_sizes,
        seed=experiment.blocks,
    )


rule aggregate_variance:
    """Pool the blocks; standard errors, confidence intervals and reliability of every estimate."""
    input:
        blocks=blocks_of,
        code=modules("aggregation", "variance", "inference"),
    output:
        f"{RESULTS}/variance/{{experiment}}.parquet",
    params:
        confidence_level=study.confidence_level,
        config_digest=block_digest,
    log:
        f"{LOGS}/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/variance/{{experiment}}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    script:
        "../scripts/aggregate_variance.py"
