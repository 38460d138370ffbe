"""The feature server: features over HTTP, its answers in the shapes of other feature servers, and its client.

`server.py` runs it, `app.py` takes a request to its route, `features.py`, `feast.py` and `tecton.py` are the routes,
and `read.py` is their one way to the online store. Wire formats live here and nowhere else: docs/reference/http-api.md.
"""
