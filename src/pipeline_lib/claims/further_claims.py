"""Claims of the paper beyond its numbered main results, and two more questions of our own."""

from pipeline_lib.claims.verdict import Claim

FURTHER = (
    Claim(
        "T11",
        "Section 1, contributions, second bullet",
        "For a two-layer linear network any non-negative trace of a product of weight matrices and "
        "stochastic gradients decreases in b from some b on.",
        "exact expectations, as polynomials in 1/b, of products in two scalar networks",
    ),
    Claim(
        "T12",
        "Section 1 and Section 4.2",
        "The variance of the gradient decreases in b at every b, in two-layer linear networks too "
        "(the paper's conjecture).",
        "exact variances of a network with 2 x 2 matrices at t = 1 and every b, and runs of it",
    ),
    Claim(
        "T13",
        "Theorem 3",
        "E of a product of d gradients and d' weights at step t is a polynomial in 1/b of degree "
        "at most (3^(t+1) − 1) d/2 + (3^t − 1) d'/2, of degree at most 3^t (3d + d') in the "
        "initial weights.",
        "exact degrees of all such products of the scalar network",
    ),
    Claim(
        "T14",
        "Corollary 2",
        "E of a product of d weights and d' residuals at step t is a polynomial in 1/b of degree "
        "at most 3^t (d + 2d').",
        "exact degrees of all such products of the scalar network",
    ),
    Claim(
        "T15",
        "Lemma 8",
        "Lemma 7 holds for words of several independent Gaussian samples, each in an even number "
        "of places.",
        "pairings within the samples against Gauss-Hermite quadrature, and a count of letters",
    ),
    Claim(
        "T16",
        "Section 3.1, after Lemma 1",
        "Lemma 1 holds for all models, not only for linear regression.",
        "every mini-batch of three small models that are not linear, compared as fractions",
    ),
    Claim(
        "T17",
        "Section 1 and Section 3.2",
        "The results on two-layer linear networks extend to any depth.",
        "exact polynomials in 1/b of networks of one to five layers, their degrees and their b_0",
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
    Claim(
        "H4",
        "our own; Section 5 asks for generalization",
        "In linear regression the expected loss on any test set decreases in b at every iteration, "
        "with momentum and weight decay too.",
        "coefficients of the covariance of the weights in c_b, in fractions: where none has a "
        "negative eigenvalue the claim is proved for that problem; exact losses on held-out rows",
    ),
    Claim(
        "H5",
        "our own; bears on Section 4.2 and the abstract",
        "In linear regression trained in epochs the expected loss after equal numbers of epochs is "
        "monotone in b, one way or the other.",
        "exact expected losses at every learning rate, all orders of the examples gone through",
    ),
)
