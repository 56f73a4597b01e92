# Exact values, and beside two of them what is estimated: every batch size from 1 to n.


FIRST_WEIGHTS = f"{RESULTS}/weights/experiment=admission/init=0.safetensors"


localrules:
    exact_moments,
    exact_noise_scale,
    exact_polynomial,
    exact_two_layer,
    exact_initial,
    scalar_theory,
    exact_precision,
    exact_limits,
    exact_test_loss,
    exact_networks,
    exact_b0_counterexample,
    exact_equal_epochs,
    estimate_sampling_schemes,


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
        experiment=any_of(name for name in REGRESSIONS if name in WITH_THEORY),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        features=features_of,
        learning_rates=rates_of,
        sampling=lambda wildcards: experiment_of(wildcards).sampled,
    script:
        "../scripts/exact_moments.py"


rule exact_noise_scale:
    """The gradient noise scale of linear regression, for the batch sizes of the experiment."""
    input:
        data=data_of,
        weights=weights_of,
    output:
        f"{RESULTS}/noise/{{experiment}}.parquet",
    log:
        f"{LOGS}/noise/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/noise/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(e for e in NOISE_SCALES if NOISE_SCALES[e] == "theory"),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        features=features_of,
        learning_rates=rates_of,
        sampling=lambda wildcards: experiment_of(wildcards).sampled,
        batch_sizes=lambda wildcards: experiment_of(wildcards).batch_sizes,
    script:
        "../scripts/exact_noise_scale.py"


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
        exact_learning_rates=exact_rates_of,
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


rule exact_initial:
    """Variance of any other linear network at t = 0, for every b."""
    input:
        weights=weights_of,
    output:
        f"{RESULTS}/theory/variance/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/variance/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/variance/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(name for name in NETWORKS if name not in TWO_LAYERS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        batch_sizes=list(range(1, 513)),
    script:
        "../scripts/exact_initial.py"


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
        "../../envs/light.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 10 * 2 ** (attempt - 1),
    params:
        **of_scalar_network(simulated=True),
        seed=study.seed,
    script:
        "../scripts/heavy_tails.py"


rule exact_precision:
    """Exact standard errors of both estimators, and the runs that a precision needs."""
    input:
        data=data_of,
        weights=weights_of,
    output:
        f"{RESULTS}/theory/precision/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/precision/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/precision/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(DRAWN_FRESH),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        features=features_of,
        learning_rates=rates_of,
        batch_sizes=lambda wildcards: experiment_of(wildcards).batch_sizes,
        runs=lambda wildcards: experiment_of(wildcards).runs,
        # of the fitted polynomials, beside a grid
        steps=lambda wildcards: getattr(
            experiment_of(wildcards).polynomial, "steps", ()
        ),
        precisions=[0.05, 0.01],
    script:
        "../scripts/exact_precision.py"


rule exact_limits:
    """Covariance of the weights as t grows, and the smallest stable batch size."""
    input:
        data=data_of_covered,
    output:
        f"{RESULTS}/theory/limits/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/limits/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/limits/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        features=features_of,
        batch_sizes=lambda wildcards: experiment_of(wildcards).batch_sizes,
        constant_rates=[0.01, 0.1, 0.2, 0.3, 0.35, 0.4],
        initial_rates=[0.5, 2.0, 4.0, 8.0],
        samplings=["fresh", "with_replacement"],
    script:
        "../scripts/exact_limits.py"


rule exact_test_loss:
    """Expected loss on rows that were held out, for every b, with and without momentum."""
    input:
        data=data_of_covered,
        weights=WEIGHTS.replace("{init}", "0"),
    output:
        f"{RESULTS}/theory/test_loss/{{experiment}}.parquet",
    log:
        f"{LOGS}/theory/test_loss/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/theory/test_loss/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        features=features_of,
        learning_rates=rates_of,
        momentum=0.9,
        weight_decay=0.001,
    script:
        "../scripts/exact_test_loss.py"


rule exact_networks:
    """Degrees and b_0 of linear networks of several depths; two layers at t = 2."""
    output:
        degrees=f"{RESULTS}/theory/network_degrees.parquet",
        variance=f"{RESULTS}/theory/network_variance.parquet",
    log:
        f"{LOGS}/theory/networks.log",
    benchmark:
        f"{BENCHMARKS}/theory/networks.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=of_study(study),
        seed=study.seed,
        second_step_of=["counter-example 2-2-2", "random 2-2-2"],
        batch_sizes=[1, 2, 3, 4, 8, 16],
    script:
        "../scripts/exact_networks.py"


rule exact_b0_counterexample:
    """A 2 x 2 network whose variance rises from b = 1 to b = 2, and Monte Carlo of it."""
    output:
        f"{RESULTS}/theory/b0_counterexample.parquet",
    log:
        f"{LOGS}/theory/b0_counterexample.log",
    benchmark:
        f"{BENCHMARKS}/theory/b0_counterexample.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=of_study(study),
        batch_sizes=list(range(1, 17)),
        simulated=[1, 2, 3, 4, 8],
        runs=500_000,
        seed=study.seed,
    script:
        "../scripts/b0_counterexample.py"


rule exact_equal_epochs:
    """Expected loss after equal epochs for every way of drawing, on eight rows."""
    input:
        data=f"{RESULTS}/data/admissions.parquet",
    output:
        f"{RESULTS}/theory/equal_epochs.parquet",
    log:
        f"{LOGS}/theory/equal_epochs.log",
    benchmark:
        f"{BENCHMARKS}/theory/equal_epochs.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=of_study(study),
        features=["gre_score", "cgpa"],
        rows=8,
        learning_rates=[0.05, 0.1, 0.2, 0.3],
        batch_sizes=[1, 2, 4, 8],
        epochs=6,
    script:
        "../scripts/exact_equal_epochs.py"


rule estimate_sampling_schemes:
    """Variance against t for four ways of drawing, exact where it can be."""
    input:
        data=f"{RESULTS}/data/admissions.parquet",
        weights=FIRST_WEIGHTS,
    output:
        f"{RESULTS}/theory/sampling_schemes.parquet",
    log:
        f"{LOGS}/theory/sampling_schemes.log",
    benchmark:
        f"{BENCHMARKS}/theory/sampling_schemes.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "admission"),
        features=study.experiments["admission"].model.features,
        learning_rates=LongList(study.experiments["admission"].learning_rates()[:120]),
        batch_sizes=[25, 100],
        runs=2000,
        seed=study.seed,
    script:
        "../scripts/sampling_schemes.py"
