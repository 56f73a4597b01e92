"""Claims on the paper's experiments."""

from pipeline_lib.claims.verdict import Claim

_ORDER = (
    "all neighbouring batch sizes at all steps as one family; exact values where there are any, "
    "elsewhere one-sided tests of the ratio in both directions, Holm-adjusted as one family"
)
_FAMILY = "one-sided tests of every comparison in both directions, Holm-adjusted as one family"
_MEANS = "t tests of neighbouring batch sizes at all evaluated epochs; " + _FAMILY

EXPERIMENTS = (
    Claim(
        "E1",
        "Section 4.2, Figure 1a",
        "On the admission data var(g_t) and var(∇L(w_t)) strictly decrease in b at all t.",
        _ORDER,
    ),
    Claim(
        "E2",
        "Section 4.2, Figure 1b",
        "A polynomial of degree 6 in 1/b fits var(g_t); it decreases in b and in t, more slowly "
        "as b grows.",
        "lack of fit by chi-squared, Holm-adjusted over the steps, of so many runs that a true fit "
        "is rejected in 5 % at most; the two orders and the convexity from exact values",
    ),
    Claim(
        "E3",
        "Section 4.2 against Appendix B.1",
        "There are 21 batch sizes that are a power of two or a multiple of 40 in [2, 500].",
        "counted",
    ),
    Claim(
        "E4",
        "Section 4.2, Figure 2",
        "In the two-layer linear network the variances of both stochastic and both full gradients "
        "strictly decrease in b at all t, for b = 1 and 2 as well.",
        _ORDER,
    ),
    Claim(
        "E5",
        "Section 4.2, Figure 3a",
        "On MNIST the smallest variance from five draws of initial weights at b = 64 is above the "
        "largest at b = 128.",
        "every draw of initial weights at b = 64 against every one at b = 128, at all recorded "
        "iterations; " + _FAMILY,
    ),
    Claim(
        "E6",
        "Section 4.2, Figure 3b",
        "From epoch 500 on the gap between the accuracy on training and on distorted images "
        "increases with b.",
        _MEANS,
    ),
    Claim(
        "E7",
        "Section 4.2, Figure 4a; abstract",
        "At equal epochs the expected training loss decreases in b (Section 4.2); the abstract has "
        "the opposite, that smaller batches yield lower losses.",
        _MEANS,
    ),
    Claim(
        "E8",
        "Section 4.2, Figure 4a",
        "The expected validation loss decreases in b until the model over-fits, and not after.",
        _MEANS + "; over-fitting is a validation loss significantly above its minimum while the "
        "training loss is lower than there",
    ),
    Claim(
        "E9",
        "Section 4.2, Figure 4b; Section 1",
        "At equal epochs the expected errors on training and validation sets decrease in b "
        "(Section 4.2); Section 1 has the opposite, better prediction with smaller batches.",
        _MEANS,
    ),
    Claim(
        "E10",
        "Section 4.2, Figure 5",
        "For XLNet trained with Adam the gradient's variance and the losses and errors on both "
        "sets decrease in b.",
        "variances averaged over an epoch by tests of the ratio, the rest by t tests; " + _FAMILY,
    ),
    Claim(
        "E11",
        "Section 3",
        "var(g_t) is proportional to (n²/b) var(∇L(w_t)).",
        "exact values: the ratio over all b at each t, and over t",
    ),
    Claim(
        "E12",
        "Appendices B.1 and B.2",
        "The stated numbers of runs put the p-value of every statistic below 0.05.",
        "the p-value, unadjusted, of var at b against var at the next b, at every step; partly "
        "where some are below, refuted where none is",
    ),
    Claim(
        "E13",
        "Section 4.2, Figures 3a and 6",
        "On MNIST var(g_t) decreases in b for all batch sizes, at all iterations.",
        "all neighbouring batch sizes at all recorded iterations as one family; one-sided tests of "
        "the log ratio, Holm-adjusted, in both directions",
    ),
    Claim(
        "E14",
        "Section 4.2, Figure 3a",
        "The sensitivity of var(g_t) to the initial weights is not large.",
        "large is read as a factor of 2, what doubling b does: every two initial weights at the "
        "same b and iteration, one-sided tests of their ratio against 2, Holm-adjusted as a family",
    ),
)
