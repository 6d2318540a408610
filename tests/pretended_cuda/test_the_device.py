"""The pretended device refuses what a real one refuses; else the other tests here would show nothing."""

import numpy as np
import pytest
import torch
from pretend_cuda import LOG, DeviceMix, pretend_cuda


@pytest.mark.parametrize(
    "mistake",
    [
        lambda t: t + torch.ones(3),
        lambda t: t.numpy(),
        lambda t: np.asarray(t),
        lambda t: torch.cat([t, torch.ones(1, 3)]),
        lambda t: torch.ones(5)[torch.zeros(2, dtype=torch.long, device="cuda")],
        lambda t: t.index_add(0, torch.tensor([0]), t[:1]),
        lambda t: torch.stack([t.sum(), torch.tensor(1.0)]),
    ],
)
def test_what_a_gpu_refuses_is_refused(mistake) -> None:
    with pretend_cuda(), pytest.raises((DeviceMix, TypeError)):
        mistake(torch.randn(5, 3).to("cuda"))


def test_copies_and_waits_are_counted() -> None:
    with pretend_cuda():
        made = torch.zeros(4, 2).to("cuda")
        assert sum(made.sum().tolist() for _ in range(3)) == 0.0
        made.cpu()
    assert {direction: sizes for (direction, _), sizes in LOG.transfers.items()} == {"to cuda": [32], "to cpu": [32]}
    assert sum(LOG.waits.values()) == 4 and LOG.renders == []
