"""The verbs, one file each: where engines and compute meet. Start with `training_set.py`."""
