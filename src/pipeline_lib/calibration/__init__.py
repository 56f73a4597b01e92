"""Whether intervals and verdicts keep their promise, by simulation against known truth."""
