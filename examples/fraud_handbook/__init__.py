"""The Fraud Detection Handbook's features, for all of its transactions, and models on them.

`python -m examples.fraud_handbook --help`. Start with `definitions.py`; `models.py` has the split, `metrics.py` the
judgement. README.md says where the data comes from.
"""
