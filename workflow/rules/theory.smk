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
        variance=f"{RESULTS}/theory/variance/{{experiment}}.parquet",
        loss=f"{RESULTS}/theory/loss/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/variance/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
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
        f"{RESULTS}/theory/polynomial/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/polynomial/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/polynomial/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(FITTED),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
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
        f"{RESULTS}/theory/variance/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/variance/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(TWO_LAYERS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        learning_rate=lambda wildcards: experiment_of(wildcards).learning_rates()[0],
        batch_sizes=list(range(1, 513)),
    script:
        "../scripts/exact_two_layer.py"


rule scalar_theory:
    """Polynomials in 1/b, their degrees and b_0 for the scalar two-layer network, exactly."""
    output:
        polynomial=f"{RESULTS}/theory/scalar_polynomial.parquet",
        degrees=f"{RESULTS}/theory/scalar_degrees.parquet",
        variance=f"{RESULTS}/theory/scalar_variance.parquet",
    log:
        f"{LOGS}/theory/scalar_network.log",
    benchmark:
        f"{BENCHMARKS}/theory/scalar_network.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **of_scalar_network(simulated=False),
    script:
        "../scripts/scalar_theory.py"


rule heavy_tails:
    """What R runs see of a variance that is known exactly: the scalar two-layer network."""
    output:
        estimates=f"{RESULTS}/heavy_tails/estimates.parquet",
        repeats=f"{RESULTS}/heavy_tails/repeats.parquet",
    log:
        f"{LOGS}/heavy_tails/estimates.log",
    benchmark:
        f"{BENCHMARKS}/heavy_tails/estimates.tsv"
    conda:
        "../../envs/light.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 10 * 2 ** (attempt - 1),
    params:
        **of_scalar_network(simulated=True),
        seed=study.seed,
    script:
        "../scripts/heavy_tails.py"
