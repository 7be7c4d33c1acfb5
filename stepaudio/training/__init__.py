"""Training: one loop for every stage, and supervised fine-tuning.

What every stage uses:

- :mod:`~stepaudio.training.config`: settings from TOML and ``key=value``
- :mod:`~stepaudio.training.stage`: what the loop asks of a way to train
- :mod:`~stepaudio.training.loop`: the loop, on accelerate
- :mod:`~stepaudio.training.schedule`: learning rates
- :mod:`~stepaudio.training.checkpoint`: atomic checkpoints
- :mod:`~stepaudio.training.metrics`: logs and curves

What stages that learn from rows of token ids share:

- :mod:`~stepaudio.training.rows`: rows of a file, checked
- :mod:`~stepaudio.training.packing`: several texts in one row without cross-talk
- :mod:`~stepaudio.training.packed_stage`: epochs of packed rows
- :mod:`~stepaudio.training.language_model`: the model to start from, log-probabilities of answers
- :mod:`~stepaudio.training.lora`: low-rank adapters

The first stage; those on preferences are in :mod:`stepaudio.rl`:

- :mod:`~stepaudio.training.sft`: supervised fine-tuning
"""
