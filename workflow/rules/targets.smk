# What is built unless a target is named: figures, and the tables that no other is made from.

# Figures, and the experiments without which they are left out.
DRAWN_FROM = {
    "fig1a": ["admission"],
    "fig1b": ["admission_sweep"],
    "fig2a": ["teacher_student"],
    "fig2b": ["teacher_student"],
    "fig3a": ["mnist_inits"],
    **dict.fromkeys(["fig3b", "fig4a", "fig4b", "fig6"], ["mnist"]),
    **dict.fromkeys(["fig5a", "fig5b", "fig5c"], ["yelp"]),
    **dict.fromkeys(
        [
            "heavy_tails",
            "distortion",
            "b0_counterexample",
            "equal_epochs",
            "sampling_schemes",
        ],
        study.experiments,
    ),  # of the study as a whole
}
# Those of losses and errors, and how often the experiment evaluates them.
SHOWS_LOSSES = {
    "fig3b": "distorted_every",
    **dict.fromkeys(["fig4a", "fig4b", "fig5b", "fig5c"], "evaluate_every"),
}


def is_drawn(figure, needed):
    """Whether what a figure needs is built, and evaluated if it shows losses."""
    often = SHOWS_LOSSES.get(figure)
    return chosen(needed) == list(needed) and not any(
        often and getattr(study.experiments[name], often) == "never" for name in needed
    )


FIGURES = [name for name, needed in DRAWN_FROM.items() if is_drawn(name, needed)]
OWN_FIGURES = expand(
    [f"{RESULTS}/figures/{{experiment}}_variance.{{format}}"]
    + [f"{RESULTS}/figures/{{experiment}}_tensors.{{format}}"],
    experiment=chosen(OWN),
    format=["svg", "png"],
) + expand(
    f"{RESULTS}/figures/{{experiment}}_losses.{{format}}",
    experiment=[name for name in chosen(OWN) if name in EVALUATED],
    format=["svg", "png"],
)
# The tables that no other table is made from, and so everything that is computed.
FINAL_TABLES = [
    *expand(f"{RESULTS}/variance/{{experiment}}.parquet", experiment=study.chosen),
    *expand(
        [
            f"{RESULTS}/theory/variance/{{experiment}}.parquet",
        ],
        experiment=chosen(WITH_THEORY),
    ),
    *expand(
        f"{RESULTS}/efficiency/{{experiment}}.parquet",
        experiment=chosen(WITH_AVERAGES),
    ),
    *expand(
        [
            f"{RESULTS}/theory/polynomial/{{experiment}}.parquet",
            f"{RESULTS}/fits/{{experiment}}.parquet",
        ],
        experiment=chosen(FITTED),
    ),
    *expand(
        f"{RESULTS}/theory/precision/{{experiment}}.parquet",
        experiment=chosen(DRAWN_FRESH),
    ),
    *expand(f"{RESULTS}/noise/{{experiment}}.parquet", experiment=chosen(NOISE_SCALES)),
    *expand(f"{RESULTS}/verdicts/{{experiment}}.md", experiment=chosen(OWN)),
    *expand(f"{RESULTS}/metrics/{{experiment}}.parquet", experiment=chosen(EVALUATED)),
    *expand(
        f"{RESULTS}/epoch_variance/{{experiment}}.parquet",
        experiment=chosen(TRANSFORMERS),
    ),
]
if study.builds_everything:
    FINAL_TABLES += [
        f"{RESULTS}/theory/limits/admission.parquet",
        f"{RESULTS}/theory/test_loss/admission.parquet",
        f"{RESULTS}/theory/equal_epochs.parquet",
        f"{RESULTS}/theory/sampling_schemes.parquet",
        f"{RESULTS}/theory/scalar_degrees.parquet",
        f"{RESULTS}/theory/network_degrees.parquet",
        f"{RESULTS}/theory/b0_counterexample.parquet",
        f"{RESULTS}/heavy_tails/estimates.parquet",
        f"{RESULTS}/claims.md",
    ]
