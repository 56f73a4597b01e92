"""Claims of theory, and our own questions that theory answers."""

from pipeline_lib.claims.verdict import Claim

THEORY = (
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
