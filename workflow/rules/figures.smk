# One rule a figure, named as in the paper. Figures read tables only.

from pipeline_lib.data.admissions import FULL_ROWS
from pipeline_lib.figures.numbers import number


localrules:
    fig1a,
    fig1b,
    fig2a,
    fig2b,
    heavy_tails,
    fig3a,
    fig3b,
    fig4a,
    fig4b,
    fig6,
    noise_scale,
    distortion,
    fig5a,
    fig5b,
    fig5c,


rule fig1a:
    """Figure 1a: variance of both gradients against the iteration, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission.parquet",
        theory=theory_of("admission"),
    output:
        figure("fig1a", "1 Linear regression"),
    log:
        f"{LOGS}/figures/fig1a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1a.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "admission"),
        runs=study.experiments["admission"].runs,
        uncovered=uncovered("admission"),
        paper_runs=IN_THE_PAPER["admission"].runs,
        paper_rows=FULL_ROWS,
        iterations=study.experiments["admission"].iterations,
        tensor="all",
        titles=("stochastic gradient", "full gradient"),
    script:
        "../scripts/variance_curves.py"


rule fig1b:
    """Figure 1b: variance against b, fitted and exact polynomials, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission_sweep.parquet",
        theory=f"{RESULTS}/theory/variance/admission_sweep.parquet",
        curves=f"{RESULTS}/fitted_curves/admission_sweep.parquet",
    output:
        figure("fig1b", "1 Linear regression"),
    log:
        f"{LOGS}/figures/fig1b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1b.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "admission_sweep"),
        runs=study.experiments["admission_sweep"].runs,
        paper_runs=IN_THE_PAPER["admission_sweep"].runs,
        paper_rows=FULL_ROWS,
        degree=study.experiments["admission_sweep"].polynomial.degree,
        steps=study.experiments["admission_sweep"].polynomial.steps,
    script:
        "../scripts/fig1b.py"


rule fig2a:
    """Figure 2a: variance of the gradient of W1 against the iteration, two-layer network."""
    input:
        variance=f"{RESULTS}/variance/teacher_student.parquet",
        theory=theory_of("teacher_student"),
    output:
        figure("fig2a", "2 Two-layer linear network", caption="fig2"),
    log:
        f"{LOGS}/figures/fig2a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2a.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "teacher_student"),
        runs=study.experiments["teacher_student"].runs,
        uncovered=uncovered("teacher_student"),
        iterations=study.experiments["teacher_student"].iterations,
        paper_runs=IN_THE_PAPER["teacher_student"].runs,
        paper_rows=None,  # samples are drawn, there is no table
        tensor="W1",
        titles=("stochastic gradient of W₁", "population gradient of W₁"),
    script:
        "../scripts/variance_curves.py"


use rule fig2a as fig2b with:
    """Figure 2b: variance of the gradient of W2 against the iteration, two-layer network."""
    output:
        figure("fig2b", "2 Two-layer linear network", caption="fig2"),
    log:
        f"{LOGS}/figures/fig2b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2b.tsv"
    params:
        tensor="W2",
        titles=("stochastic gradient of W₂", "population gradient of W₂"),


rule heavy_tails:
    """Estimates from 1,000 to 10 million runs beside the exact variance, scalar two-layer network."""
    input:
        estimates=f"{RESULTS}/heavy_tails/estimates.parquet",
        repeats=f"{RESULTS}/heavy_tails/repeats.parquet",
    output:
        figure("heavy_tails", "2 Two-layer linear network", label="heavy tails"),
    log:
        f"{LOGS}/figures/heavy_tails.log",
    benchmark:
        f"{BENCHMARKS}/figures/heavy_tails.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **of_scalar_network(simulated=True),
        run_counts=", ".join(map(number, study.run_counts)),
    script:
        "../scripts/draw_heavy_tails.py"


rule fig3a:
    """Figure 3a: variance of the gradient from several initial weights, MNIST network."""
    input:
        variance=f"{RESULTS}/variance/mnist_inits.parquet",
    output:
        figure("fig3a", "3 MNIST"),
    log:
        f"{LOGS}/figures/fig3a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig3a.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **scale_of("mnist_inits"),
        made_with=made_with(study, "mnist_inits"),
        inits=study.experiments["mnist_inits"].initial_weights.count,
        paper_inits=IN_THE_PAPER["mnist_inits"].initial_weights,
    script:
        "../scripts/initial_weights_figure.py"


rule fig3b:
    """Figure 3b: accuracy on training less distorted images against the epoch, MNIST network."""
    input:
        metrics=f"{RESULTS}/metrics/mnist.parquet",
    output:
        figure("fig3b", "3 MNIST"),
    log:
        f"{LOGS}/figures/fig3b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig3b.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **scale_of("mnist"),
        made_with=made_with(study, "mnist"),
        first_epoch=study.experiments["mnist"].distorted_every,
    script:
        "../scripts/accuracy_gap.py"


rule fig4a:
    """Figure 4a: training and validation loss against the epoch, MNIST network."""
    input:
        metrics=f"{RESULTS}/metrics/mnist.parquet",
    output:
        figure("fig4a", "3 MNIST", caption="fig4"),
    log:
        f"{LOGS}/figures/fig4a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig4a.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **scale_of("mnist"),
        made_with=made_with(study, "mnist"),
        metric="loss",
    script:
        "../scripts/training_curves.py"


use rule fig4a as fig4b with:
    """Figure 4b: training and validation error against the epoch, MNIST network."""
    output:
        figure("fig4b", "3 MNIST", caption="fig4"),
    log:
        f"{LOGS}/figures/fig4b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig4b.tsv"
    params:
        metric="error",


rule fig6:
    """Figure 6: variance of the gradient by batch size, MNIST network."""
    input:
        variance=f"{RESULTS}/variance/mnist.parquet",
    output:
        figure("fig6", "3 MNIST"),
    log:
        f"{LOGS}/figures/fig6.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig6.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **scale_of("mnist"),
        made_with=made_with(study, "mnist"),
    script:
        "../scripts/gradient_variance.py"


rule noise_scale:
    """The gradient noise scale against the iteration, by batch size, any experiment that has one."""
    input:
        table=f"{RESULTS}/noise/{{experiment}}.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/{{experiment}}_noise_scale", ".svg", ".png"),
            caption="../report/noise_scale.rst",
            category="8 Gradient noise scale",
            labels={"figure": "{experiment}"},
        ),
    log:
        f"{LOGS}/figures/{{experiment}}_noise_scale.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{experiment}}_noise_scale.tsv"
    wildcard_constraints:
        experiment=any_of(NOISE_SCALES),
    conda:
        "../../envs/light.yaml"
    params:
        runs=lambda wildcards: experiment_of(wildcards).runs,
        source=lambda wildcards: NOISE_SCALES[wildcards.experiment],
        of_those_left=lambda wildcards: experiment_of(wildcards).model.in_epochs
        and experiment_of(wildcards).sampled == "epochs",
        length=length_of,
        made_with=made_with_of,
    script:
        "../scripts/draw_noise_scale.py"


rule distortion:
    """What elastic distortion does to digits, over a grid of its two parameters."""
    input:
        table=rules.prepare_mnist.output.table,
    output:
        figure("distortion", "3 MNIST"),
    log:
        f"{LOGS}/figures/distortion.log",
    benchmark:
        f"{BENCHMARKS}/figures/distortion.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        distortion=dataclasses.asdict(study.distortion),
    script:
        "../scripts/draw_distortion.py"


rule fig5a:
    """Figure 5a: variance of the gradient by epoch, XLNet."""
    input:
        table=f"{RESULTS}/epoch_variance/yelp.parquet",
        origin=f"{RESULTS}/data/reviews/yelp.json",
    output:
        figure("fig5a", reviews_category, caption="fig5"),
    log:
        f"{LOGS}/figures/fig5a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5a.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **scale_of("yelp"),
        made_with=made_with(study, "yelp"),
        reviews=reviews_used,
        model=study.experiments["yelp"].training()["model"],
        learning_rate=number(study.experiments["yelp"].learning_rate.initial),
        updates=updates_of("yelp"),
        of_the_paper=is_papers_problem("yelp"),
        panels="variance",
        ylabel="variance, mean of the epoch",
    script:
        "../scripts/epoch_panels.py"


use rule fig5a as fig5b with:
    """Figure 5b: training and validation loss by epoch, XLNet."""
    input:
        table=f"{RESULTS}/metrics/yelp.parquet",
        origin=f"{RESULTS}/data/reviews/yelp.json",
    output:
        figure("fig5b", reviews_category, caption="fig5"),
    log:
        f"{LOGS}/figures/fig5b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5b.tsv"
    params:
        panels="loss",
        ylabel="mean loss over runs",


use rule fig5b as fig5c with:
    """Figure 5c: training and validation accuracy by epoch, XLNet."""
    output:
        figure("fig5c", reviews_category, caption="fig5"),
    log:
        f"{LOGS}/figures/fig5c.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5c.tsv"
    params:
        panels="accuracy",
        ylabel="mean accuracy over runs",
