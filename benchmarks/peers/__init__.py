"""Other software on the same task: each peer runs in its own environment and answers the protocol of `protocol.py`."""
