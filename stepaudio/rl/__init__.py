"""Post-training by reinforcement: interfaces so far."""
