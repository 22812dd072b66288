"""Texts to vectors: the built-in model, in this process or in a child, and a hosted one when a key is set."""
