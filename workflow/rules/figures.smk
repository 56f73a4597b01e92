# One rule a figure, named as in the paper. Figures read tables only.


localrules:
    fig1a,
    fig1b,
    fig2a,
    fig2b,
    draw_heavy_tails,
    fig3a,
    fig3b,
    fig4a,
    fig4b,
    fig6,
    draw_distortion,
    fig5a,
    fig5b,
    fig5c,


rule fig1a:
    """Figure 1a: variance of both gradients against the iteration, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission.parquet",
        theory=f"{RESULTS}/theory/admission.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig1a", ".svg", ".png"),
            caption="../report/fig1a.rst",
            category="1 Linear regression",
            labels={"figure": "1a"},
        ),
    log:
        f"{LOGS}/figures/fig1a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["admission"].runs,
        paper_runs=study.at_paper_scale["admission"].runs,
        iterations=study.experiments["admission"].iterations,
        confidence_level=study.confidence_level,
        tensor="all",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_t \mid \mathcal{F}_0)$",
            r"full gradient, $\mathrm{var}(\nabla L(w_t) \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule fig1b:
    """Figure 1b: variance against b, fitted and exact polynomials, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission_sweep.parquet",
        theory=f"{RESULTS}/theory/admission_sweep.parquet",
        curves=f"{RESULTS}/fits/admission_sweep_curves.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig1b", ".svg", ".png"),
            caption="../report/fig1b.rst",
            category="1 Linear regression",
            labels={"figure": "1b"},
        ),
    log:
        f"{LOGS}/figures/fig1b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["admission_sweep"].runs,
        paper_runs=study.at_paper_scale["admission_sweep"].runs,
        degree=study.experiments["admission_sweep"].polynomial.degree,
        steps=study.experiments["admission_sweep"].polynomial.steps,
        confidence_level=study.confidence_level,
    script:
        "../scripts/fig1b.py"


rule fig2a:
    """Figure 2a: variance of the gradient of W1 against the iteration, two-layer network."""
    input:
        variance=f"{RESULTS}/variance/teacher_student.parquet",
        theory=f"{RESULTS}/theory/teacher_student.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig2a", ".svg", ".png"),
            caption="../report/fig2.rst",
            category="2 Two-layer linear network",
            labels={"figure": "2a"},
        ),
    log:
        f"{LOGS}/figures/fig2a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["teacher_student"].runs,
        iterations=study.experiments["teacher_student"].iterations,
        paper_runs=study.at_paper_scale["teacher_student"].runs,
        confidence_level=study.confidence_level,
        tensor="W1",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_{t,1} \mid \mathcal{F}_0)$",
            r"population gradient, $\mathrm{var}(\nabla_{W_1}\mathcal{L} \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule fig2b:
    """Figure 2b: variance of the gradient of W2 against the iteration, two-layer network."""
    input:
        variance=f"{RESULTS}/variance/teacher_student.parquet",
        theory=f"{RESULTS}/theory/teacher_student.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig2b", ".svg", ".png"),
            caption="../report/fig2.rst",
            category="2 Two-layer linear network",
            labels={"figure": "2b"},
        ),
    log:
        f"{LOGS}/figures/fig2b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["teacher_student"].runs,
        iterations=study.experiments["teacher_student"].iterations,
        paper_runs=study.at_paper_scale["teacher_student"].runs,
        confidence_level=study.confidence_level,
        tensor="W2",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_{t,2} \mid \mathcal{F}_0)$",
            r"population gradient, $\mathrm{var}(\nabla_{W_2}\mathcal{L} \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule draw_heavy_tails:
    """Estimates from 1,000 to 10 million runs beside the exact variance, scalar two-layer network."""
    input:
        estimates=rules.heavy_tails.output.estimates,
        repeats=rules.heavy_tails.output.repeats,
    output:
        report(
            multiext(f"{RESULTS}/figures/heavy_tails", ".svg", ".png"),
            caption="../report/heavy_tails.rst",
            category="2 Two-layer linear network",
            labels={"figure": "heavy tails"},
        ),
    log:
        f"{LOGS}/figures/heavy_tails.log",
    benchmark:
        f"{BENCHMARKS}/figures/heavy_tails.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        settings=scalar_settings("polynomial_max_step"),
        confidence_level=study.confidence_level,
    script:
        "../scripts/draw_heavy_tails.py"


rule fig3a:
    """Figure 3a: variance of the gradient from several initial weights, MNIST network."""
    input:
        variance=f"{RESULTS}/variance/mnist_inits.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig3a", ".svg", ".png"),
            caption="../report/fig3a.rst",
            category="3 MNIST",
            labels={"figure": "3a"},
        ),
    log:
        f"{LOGS}/figures/fig3a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig3a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("mnist_inits"),
        inits=study.experiments["mnist_inits"].initial_weights.count,
        paper_inits=study.at_paper_scale["mnist_inits"].initial_weights.count,
    script:
        "../scripts/initial_weights_figure.py"


rule fig3b:
    """Figure 3b: accuracy on training less distorted images against the epoch, MNIST network."""
    input:
        metrics=f"{RESULTS}/metrics/mnist.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig3b", ".svg", ".png"),
            caption="../report/fig3b.rst",
            category="3 MNIST",
            labels={"figure": "3b"},
        ),
    log:
        f"{LOGS}/figures/fig3b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig3b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("mnist"),
        confidence_level=study.confidence_level,
        first_epoch=study.experiments["mnist"].distorted_every,
    script:
        "../scripts/accuracy_gap.py"


rule fig4a:
    """Figure 4a: training and validation loss against the epoch, MNIST network."""
    input:
        metrics=f"{RESULTS}/metrics/mnist.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig4a", ".svg", ".png"),
            caption="../report/fig4.rst",
            category="3 MNIST",
            labels={"figure": "4a"},
        ),
    log:
        f"{LOGS}/figures/fig4a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig4a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("mnist"),
        confidence_level=study.confidence_level,
        metric="loss",
    script:
        "../scripts/training_curves.py"


rule fig4b:
    """Figure 4b: training and validation error against the epoch, MNIST network."""
    input:
        metrics=f"{RESULTS}/metrics/mnist.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig4b", ".svg", ".png"),
            caption="../report/fig4.rst",
            category="3 MNIST",
            labels={"figure": "4b"},
        ),
    log:
        f"{LOGS}/figures/fig4b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig4b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("mnist"),
        confidence_level=study.confidence_level,
        metric="error",
    script:
        "../scripts/training_curves.py"


rule fig6:
    """Figure 6: variance of the gradient by batch size, MNIST network."""
    input:
        variance=f"{RESULTS}/variance/mnist.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig6", ".svg", ".png"),
            caption="../report/fig6.rst",
            category="3 MNIST",
            labels={"figure": "6"},
        ),
    log:
        f"{LOGS}/figures/fig6.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig6.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("mnist"),
        confidence_level=study.confidence_level,
    script:
        "../scripts/gradient_variance.py"


rule draw_distortion:
    """What elastic distortion does to digits, over a grid of its two parameters."""
    input:
        table=rules.prepare_mnist.output.table,
    output:
        report(
            multiext(f"{RESULTS}/figures/distortion", ".svg", ".png"),
            caption="../report/distortion.rst",
            category="3 MNIST",
            labels={"figure": "distortion"},
        ),
    log:
        f"{LOGS}/figures/distortion.log",
    benchmark:
        f"{BENCHMARKS}/figures/distortion.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        distortion=dataclasses.asdict(study.distortion),
    script:
        "../scripts/draw_distortion.py"


rule fig5a:
    """Figure 5a: variance of the gradient by epoch, XLNet."""
    input:
        table=f"{RESULTS}/variance/yelp_epochs.parquet",
        origin=f"{RESULTS}/data/yelp.json",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig5a", ".svg", ".png"),
            caption="../report/fig5.rst",
            category="4 Yelp",
            labels={"figure": "5a"},
        ),
    log:
        f"{LOGS}/figures/fig5a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("yelp"),
        model=study.experiments["yelp"].training()["model"],
        learning_rate=study.experiments["yelp"].learning_rate.initial,
        clip_norm=study.experiments["yelp"].optimizer.clip_norm,
        of_the_paper=study.experiments["yelp"].training()
        == study.at_paper_scale["yelp"].training(),
        confidence_level=study.confidence_level,
        panels="variance",
        ylabel="variance over runs, mean of the epoch",
    script:
        "../scripts/epoch_panels.py"


rule fig5b:
    """Figure 5b: training and validation loss by epoch, XLNet."""
    input:
        table=f"{RESULTS}/metrics/yelp.parquet",
        origin=f"{RESULTS}/data/yelp.json",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig5b", ".svg", ".png"),
            caption="../report/fig5.rst",
            category="4 Yelp",
            labels={"figure": "5b"},
        ),
    log:
        f"{LOGS}/figures/fig5b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("yelp"),
        model=study.experiments["yelp"].training()["model"],
        learning_rate=study.experiments["yelp"].learning_rate.initial,
        clip_norm=study.experiments["yelp"].optimizer.clip_norm,
        of_the_paper=study.experiments["yelp"].training()
        == study.at_paper_scale["yelp"].training(),
        confidence_level=study.confidence_level,
        panels="loss",
        ylabel="mean loss over runs",
    script:
        "../scripts/epoch_panels.py"


rule fig5c:
    """Figure 5c: training and validation accuracy by epoch, XLNet."""
    input:
        table=f"{RESULTS}/metrics/yelp.parquet",
        origin=f"{RESULTS}/data/yelp.json",
    output:
        report(
            multiext(f"{RESULTS}/figures/fig5c", ".svg", ".png"),
            caption="../report/fig5.rst",
            category="4 Yelp",
            labels={"figure": "5c"},
        ),
    log:
        f"{LOGS}/figures/fig5c.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig5c.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **scale_of("yelp"),
        model=study.experiments["yelp"].training()["model"],
        learning_rate=study.experiments["yelp"].learning_rate.initial,
        clip_norm=study.experiments["yelp"].optimizer.clip_norm,
        of_the_paper=study.experiments["yelp"].training()
        == study.at_paper_scale["yelp"].training(),
        confidence_level=study.confidence_level,
        panels="accuracy",
        ylabel="mean accuracy over runs",
    script:
        "../scripts/epoch_panels.py"
