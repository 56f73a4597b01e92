# Blocks of replicas become one table of variances an experiment.


localrules:
    aggregate_variance,


rule aggregate_variance:
    """Pool the blocks; standard errors, confidence intervals and reliability of every estimate."""
    input:
        blocks=blocks_of,
        code=modules("aggregation", "statistics", "variance", "inference"),
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
    script:
        "../scripts/aggregate_variance.py"
