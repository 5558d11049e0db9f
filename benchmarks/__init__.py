"""The commands behind every figure that a document shows."""
