"""Networks and baselines that LLaMA-Factory does not train, and the embedded language model."""
