"""VitalFactory: medical data as LLaMA-Factory datasets, and honest figures for what was learned."""

__version__ = "0.1.0"
