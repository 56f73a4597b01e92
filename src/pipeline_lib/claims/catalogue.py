"""Every claim of the ledger: its place in arXiv 2004.13146, what it says in our words, its test.

T: theory; E: experiments; H: our own questions, which the paper does not ask.
"""

from collections.abc import Mapping

from pipeline_lib.claims.experiment_claims import EXPERIMENTS
from pipeline_lib.claims.theory_claims import THEORY
from pipeline_lib.claims.verdict import Claim


def _place(claim: Claim) -> tuple[int, int]:
    return "TEH".index(claim.id[0]), int(claim.id[1:])


CLAIMS: Mapping[str, Claim] = {
    claim.id: claim for claim in sorted((*THEORY, *EXPERIMENTS), key=_place)
}
# Claims about every problem, of which one exact instance is looked at.
THEOREMS = frozenset({*(name for name in CLAIMS if name.startswith("T")), "H2", "H4"})
