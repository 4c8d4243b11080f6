"""Generators of pictures, the judge that measures them, and the weights that come along."""
