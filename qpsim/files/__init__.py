"""Reading and writing files: what is read is checked, and what is written is either complete or not there.

- ``writing``: files that appear under their name only when complete. ``reading``: opens regular files only, since
  reading from a pipe or a device may never end.
- ``archive``: arrays and a JSON header in one ``.npz`` (results, checkpoints, weights).
- ``arrays``: a user's matrices and tables from ``.npy``, ``.npz``, ``.csv`` or ``.parquet``.
- ``plain``: Python values as JSON can hold them.
"""
