# Exact values: no sampling, every batch size from 1 to n.


localrules:
    exact_moments,
    exact_polynomial,


rule exact_moments:
    """Variance of both gradients and the expected loss, for every b and every step."""
    input:
        data=data_of,
        weights=weights_of,
        code=modules("theory/linear_regression", "tables"),
    output:
        variance=f"{RESULTS}/theory/{{experiment}}.parquet",
        loss=f"{RESULTS}/theory/{{experiment}}_loss.parquet",
    log:
        f"{LOGS}/theory/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/{{experiment}}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        features=features_of,
        learning_rates=lambda wildcards: experiment_of(wildcards).learning_rates(),
    script:
        "../scripts/exact_moments.py"


rule exact_polynomial:
    """The variance as a polynomial in c_b and in 1/b, with certified digits."""
    input:
        data=data_of,
        weights=weights_of,
        code=modules("theory/polynomial", "tables"),
    output:
        f"{RESULTS}/theory/{{experiment}}_polynomial.parquet",
    log:
        f"{LOGS}/theory/{{experiment}}_polynomial.log",
    benchmark:
        f"{BENCHMARKS}/theory/{{experiment}}_polynomial.tsv"
    wildcard_constraints:
        experiment="|".join(FITTED),
    conda:
        "../../envs/pipeline.yaml"
    params:
        features=features_of,
        exact_learning_rates=lambda wildcards: experiment_of(
            wildcards
        ).exact_learning_rates(),
        steps=lambda wildcards: experiment_of(wildcards).polynomial.steps,
    script:
        "../scripts/exact_polynomial.py"
