"""What every eval script shares: likelihoods, parsing, metrics, intervals and the report."""
