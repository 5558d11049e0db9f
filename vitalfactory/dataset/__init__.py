"""What every converter shares: examples, splits, balance, writing, registering and checking a dataset."""
