"""The language model over text and audio tokens."""
