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
        report(
            multiext(f"{RESULTS}/figures/b0_counterexample", ".svg", ".png"),
            caption="../report/b0_counterexample.rst",
            category="2 Two-layer linear network",
            labels={"figure": "counter-example"},
        ),
    log:
        f"{LOGS}/figures/b0_counterexample.log",
    benchmark:
        f"{BENCHMARKS}/figures/b0_counterexample.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=rules.exact_b0_counterexample.params.runs,
        confidence_level=study.confidence_level,
    script:
        "../scripts/draw_b0_counterexample.py"


rule equal_epochs:
    """Expected loss after equal epochs against b, for four ways of drawing mini-batches."""
    input:
        losses=rules.exact_equal_epochs.output[0],
    output:
        report(
            multiext(f"{RESULTS}/figures/equal_epochs", ".svg", ".png"),
            caption="../report/equal_epochs.rst",
            category="1 Linear regression",
            labels={"figure": "equal epochs"},
        ),
    log:
        f"{LOGS}/figures/equal_epochs.log",
    benchmark:
        f"{BENCHMARKS}/figures/equal_epochs.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        rows=rules.exact_equal_epochs.params.rows,
    script:
        "../scripts/draw_equal_epochs.py"


rule sampling_schemes:
    """Variance against t for four ways of drawing mini-batches, linear regression."""
    input:
        table=rules.estimate_sampling_schemes.output[0],
    output:
        report(
            multiext(f"{RESULTS}/figures/sampling_schemes", ".svg", ".png"),
            caption="../report/sampling_schemes.rst",
            category="1 Linear regression",
            labels={"figure": "sampling schemes"},
        ),
    log:
        f"{LOGS}/figures/sampling_schemes.log",
    benchmark:
        f"{BENCHMARKS}/figures/sampling_schemes.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=rules.estimate_sampling_schemes.params.runs,
        confidence_level=study.confidence_level,
    script:
        "../scripts/draw_sampling_schemes.py"
