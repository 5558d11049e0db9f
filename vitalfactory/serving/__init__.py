"""A tuned model behind an OpenAI-compatible endpoint on this machine's own address."""
