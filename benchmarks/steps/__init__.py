"""One training step of a language model, ours and others', behind one interface: see `task.py`."""
