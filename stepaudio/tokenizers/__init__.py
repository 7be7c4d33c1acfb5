"""Recordings and text to tokens."""
