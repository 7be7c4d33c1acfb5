"""The data of the embedded model: from recordings and offline engines to one manifest with features."""
