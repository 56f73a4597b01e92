"""Every claim of the ledger: its place in arXiv 2004.13146, what it says in our words, its test.

T: theory; E: experiments; H: our own questions, which the paper does not ask.
"""

from collections.abc import Mapping

from pipeline_lib.claims.further_claims import FURTHER
from pipeline_lib.claims.verdict import Claim

_ORDER = (
    "all neighbouring batch sizes at all steps as one family; exact values where there are any, "
    "elsewhere one-sided tests of the ratio in both directions, Holm-adjusted as one family"
)
_FAMILY = "one-sided tests of every comparison in both directions, Holm-adjusted as one family"
_MEANS = "t tests of neighbouring batch sizes at all evaluated epochs; " + _FAMILY

_CLAIMS = (
    Claim(
        "T1",
        "Lemma 1",
        "Given the weights, var(A g) is c_b times the spread of the A∇L_i around A∇L.",
        "every mini-batch of a small rational problem, compared as fractions",
    ),
    Claim(
        "T2",
        "Lemma 2",
        "One step of SGD adds α² c_b/n² times a sum over all ordered pairs (k, l) of samples to "
        "the second moment of a combination of sample gradients.",
        "every mini-batch sequence of a small rational problem, both sides as fractions",
    ),
    Claim(
        "T3",
        "Theorem 1",
        "E|Σ A_i ∇L_i(w_t)|² decreases in b, strictly or not, for all matrices A_i and all t.",
        "every mini-batch sequence of small rational problems, every b from 1 to n",
    ),
    Claim(
        "T4",
        "Theorem 2 and Corollary 1",
        "var(g_t) and var(∇L(w_t)) decrease in b for all b in [1, n] and all t.",
        "exact variances at every b and t; certified signs of the coefficients in c_b, where no "
        "negative one is a proof for all b",
    ),
    Claim(
        "T5",
        "Section 4.2",
        "In linear regression var(g_t) is a polynomial of degree t + 1 in 1/b.",
        "exact divided differences of values enumerated at every b; certified degrees",
    ),
    Claim(
        "T6",
        "Lemma 7",
        "E[x xᵀ A₁ x xᵀ ⋯ A_{m−1} x xᵀ] for Gaussian x is a sum of products of traces and one "
        "matrix, with every A_j once in each term.",
        "Wick's theorem against Gauss-Hermite quadrature of exact order, and a count of letters",
    ),
    Claim(
        "T7",
        "Theorem 4",
        "The degree of var(g_t) in 1/b is at most 2·3^t (in words), at most 2·3^(t+1) (in the "
        "display).",
        "exact degrees of the scalar network against both bounds",
    ),
    Claim(
        "T8",
        "proof of Theorem 4",
        "var(g_t) given F_0 is 1/b times the variance of one sample's gradient given F_0.",
        "exact polynomials in 1/b of the scalar network, both sides",
    ),
    Claim(
        "T9",
        "Theorem 5",
        "There is a b_0 from which on var(g_t) decreases in b.",
        "exact b_0 of the scalar network by isolation of the roots of the derivative",
    ),
    Claim(
        "T10",
        "proof of Lemma 3",
        "The base-b digits of the sizes of the classes of index tuples do not depend on b.",
        "every index tuple of three factors sorted into its class, for several b",
    ),
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
        "H1",
        "our own; Section 4 relies on it",
        "An experiment of 1,000 runs sees the true variance at small b in the Gaussian setting.",
        "share of repeated experiments whose interval misses the exact variance, binomial tests "
        "of it, Holm-adjusted",
    ),
    Claim(
        "H2",
        "our own; bears on Section 4.2 and the abstract",
        "In linear regression the expected loss decreases in b at every iteration.",
        "exact expected losses at every b and t",
    ),
)


def _place(claim: Claim) -> tuple[int, int]:
    return "TEH".index(claim.id[0]), int(claim.id[1:])


CLAIMS: Mapping[str, Claim] = {
    claim.id: claim for claim in sorted((*_CLAIMS, *FURTHER), key=_place)
}
# Claims about every problem, of which one exact instance is looked at.
THEOREMS = frozenset({*(name for name in CLAIMS if name.startswith("T")), "H2", "H4"})
