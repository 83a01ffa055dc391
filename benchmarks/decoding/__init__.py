"""A language model in use, ours and others': writing token by token (`writer.py`), scoring sentences (`scorer.py`)."""
