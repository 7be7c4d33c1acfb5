"""Training the margin scorer; see README.md."""
