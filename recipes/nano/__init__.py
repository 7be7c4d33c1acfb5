"""The embedded model: from recordings to weights, one command per stage."""
