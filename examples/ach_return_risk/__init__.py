"""Will an ACH debit be returned? A simulated bank, a training set as known, and what hindsight would have cost.

    python -m examples.ach_return_risk [--events 1000000] [--seed 0] [--out DIR] [--stream 24] [--quick]

The files, in reading order: project/definitions.py (what a user of asof writes), demo.py (the steps), bank.py,
matrix.py, train.py, story.py, picture.py, online.py, live.py, live_table.py, tables.py, steps.py.
"""
