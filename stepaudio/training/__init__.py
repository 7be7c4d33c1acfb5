"""Training: one loop for every stage, and supervised fine-tuning.

- :mod:`~stepaudio.training.config`: settings from TOML and ``key=value``
- :mod:`~stepaudio.training.stage`: what the loop asks of a way to train
- :mod:`~stepaudio.training.loop`: the loop, on accelerate
- :mod:`~stepaudio.training.schedule`: learning rates
- :mod:`~stepaudio.training.checkpoint`: atomic checkpoints
- :mod:`~stepaudio.training.metrics`: logs and curves
"""
