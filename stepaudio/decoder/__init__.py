"""Tokens to mel frames to sound."""
