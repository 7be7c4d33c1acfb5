"""Published checkpoints to our layout."""
