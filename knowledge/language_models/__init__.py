"""Who may answer what failed: hosted language models and the built-in classifier."""
