"""Events in: logs that are appended to by anybody and read by workers; stream.py is the seam."""
