"""Any OpenAI-compatible endpoint, asked many questions: limits, retries, structured answers, a ledger, costs."""
