"""A batch of tokens for the tests of regularised networks, and its sizes."""

import torch

V, E, H, T, B = 11, 12, 15, 6, 4
IDS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([4, 6, 1, 3])
