"""The arithmetic: pure functions over NumPy columns, the same for training, streams and serving."""
