"""A page in the browser over the whole pack: it runs the pack's scripts, shows what they wrote, and asks a model."""
