"""What a user writes: frozen records, no I/O.

Start with `feature_view.py`; `aggregation.py` and `window.py` hold the words that features are made of,
`source.py` where rows come from, `service.py` what a model asks for, `label.py` what it learns.
"""
