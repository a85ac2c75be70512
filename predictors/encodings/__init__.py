"""Encodings: networks as rows of numbers, with the normalisation that they were fitted with."""
