"""Data: bundled sets, folders, streams of experiences, and the gate that checks what arrives.

Import from the modules (``clnf.streams.bundled``, ``sources``, ``folder``, ``stream``, ``gate``
...). Nothing here knows a model.
"""
