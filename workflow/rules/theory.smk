# Exact values: no sampling, every batch size from 1 to n.


localrules:
    exact_moments,
    exact_polynomial,
    exact_two_layer,
    scalar_theory,


rule exact_moments:
    """Variance of both gradients and the expected loss, for every b and every step."""
    input:
        data=data_of,
        weights=weights_of,
    output:
        variance=f"{RESULTS}/theory/{{experiment}}.parquet",
        loss=f"{RESULTS}/theory/{{experiment}}_loss.parquet",
    log:
        f"{LOGS}/theory/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
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
    output:
        f"{RESULTS}/theory/{{experiment}}_polynomial.parquet",
    log:
        f"{LOGS}/theory/{{experiment}}_polynomial.log",
    benchmark:
        f"{BENCHMARKS}/theory/{{experiment}}_polynomial.tsv"
    wildcard_constraints:
        experiment=any_of(FITTED),
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


rule exact_two_layer:
    """Variance of the two-layer linear network at t = 0 and t = 1, for every b."""
    input:
        weights=weights_of,
    output:
        f"{RESULTS}/theory/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(TWO_LAYERS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        learning_rate=lambda wildcards: experiment_of(wildcards).learning_rates()[0],
        batch_sizes=list(range(1, 513)),
    script:
        "../scripts/exact_two_layer.py"


rule scalar_theory:
    """Polynomials in 1/b, their degrees and b_0 for the scalar two-layer network, exactly."""
    output:
        polynomial=f"{RESULTS}/theory/scalar_network_polynomial.parquet",
        degrees=f"{RESULTS}/theory/scalar_network_degrees.parquet",
        variance=f"{RESULTS}/theory/scalar_network.parquet",
    log:
        f"{LOGS}/theory/scalar_network.log",
    benchmark:
        f"{BENCHMARKS}/theory/scalar_network.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        settings=scalar_settings("run_counts", "repeats", "max_step"),
    script:
        "../scripts/scalar_theory.py"


rule estimate_heavy_tails:
    """What R runs see of a variance that is known exactly: the scalar two-layer network."""
    output:
        estimates=f"{RESULTS}/heavy_tails/estimates.parquet",
        repeats=f"{RESULTS}/heavy_tails/repeats.parquet",
    log:
        f"{LOGS}/heavy_tails/estimates.log",
    benchmark:
        f"{BENCHMARKS}/heavy_tails/estimates.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 10 * 2 ** (attempt - 1),
    params:
        settings=scalar_settings("polynomial_max_step"),
        seed=study.seed,
        confidence_level=study.confidence_level,
    script:
        "../scripts/heavy_tails.py"
