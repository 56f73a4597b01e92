"""The ledger of the paper's claims: what each says, how it is tested, what comes out."""
