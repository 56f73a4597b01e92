# Figures of exact results that the paper does not have. They read tables only.


localrules:
    b0_counterexample,
    equal_epochs,
    sampling_schemes,


rule b0_counterexample:
    """Variance against b of the 2 x 2 network at which it rises from b = 1 to b = 2."""
    input:
        table=rules.exact_b0_counterexample.output[0],
    output:
        figure(
            "b0_counterexample", "2 Two-layer linear network", label="counter-example"
        ),
    log:
        f"{LOGS}/figures/b0_counterexample.log",
    benchmark:
        f"{BENCHMARKS}/figures/b0_counterexample.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=of_study(study),
        runs=rules.exact_b0_counterexample.params.runs,
    script:
        "../scripts/draw_b0_counterexample.py"


rule equal_epochs:
    """Expected loss after equal epochs against b, for four ways of drawing mini-batches."""
    input:
        losses=rules.exact_equal_epochs.output[0],
    output:
        figure("equal_epochs", "1 Linear regression", label="equal epochs"),
    log:
        f"{LOGS}/figures/equal_epochs.log",
    benchmark:
        f"{BENCHMARKS}/figures/equal_epochs.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=of_study(study),
        rows=rules.exact_equal_epochs.params.rows,
    script:
        "../scripts/draw_equal_epochs.py"


rule sampling_schemes:
    """Variance against t for four ways of drawing mini-batches, linear regression."""
    input:
        table=rules.estimate_sampling_schemes.output[0],
    output:
        figure("sampling_schemes", "1 Linear regression", label="sampling schemes"),
    log:
        f"{LOGS}/figures/sampling_schemes.log",
    benchmark:
        f"{BENCHMARKS}/figures/sampling_schemes.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "admission"),
        runs=rules.estimate_sampling_schemes.params.runs,
    script:
        "../scripts/draw_sampling_schemes.py"
