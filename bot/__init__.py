"""Starts, stops and wires the program; the only package that may import all the others."""

import time

# Read first of all, so that "ready in … s" counts what the imports cost.
STARTED_AT = time.time()
