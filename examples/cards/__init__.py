"""A council's purchase card transactions: histories as known on the day, and the expense category guessed from them.

`python -m examples.cards`. Start with `definitions.py`; `candidates.py` turns histories into a model's input,
`models.py` compares. README.md has the results, data/README.md the data's origin and licence.
"""
