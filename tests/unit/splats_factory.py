"""Gaussians for the tests of splats/, and what the tests compare them by."""

import dataclasses

import torch

from click_gaussian_ns.types import Splats


def random_splats(num: int, degree: int = 3, seed: int = 0) -> Splats:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Splats(
        means=normal(num, 3),
        quats=normal(num, 4) + 0.1,
        log_scales=normal(num, 3) - 3,
        opacity_logits=normal(num),
        sh=normal(num, (degree + 1) ** 2, 3),
    )


def random_rotation(seed: int = 0) -> torch.Tensor:
    """A proper rotation, float64."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    q = q * torch.diagonal(r).sign()
    return q * torch.linalg.det(q).sign()


def assert_identical(actual: Splats, expected: Splats) -> None:
    for field in dataclasses.fields(Splats):
        assert torch.equal(getattr(actual, field.name), getattr(expected, field.name)), field.name


def assert_close(actual: Splats, expected: Splats, atol: float) -> None:
    """q and -q are the same rotation."""
    signs = (actual.quats * expected.quats).sum(1, keepdim=True).sign()
    actual = dataclasses.replace(actual, quats=actual.quats * signs)
    for field in dataclasses.fields(Splats):
        torch.testing.assert_close(getattr(actual, field.name), getattr(expected, field.name), rtol=0, atol=atol)
