"""A set of Gaussians in one bit each: what histories and files keep of a selection."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class PackedMask:
    """A Boolean per Gaussian, immutable."""

    bits: bytes
    """Most significant bit first; the last byte is padded with zeros."""
    num: int
    """Length of the mask."""

    @staticmethod
    def pack(mask: Bool[Tensor, "N"]) -> PackedMask:
        """From a mask on any device."""
        return PackedMask(np.packbits(mask.cpu().numpy()).tobytes(), mask.shape[0])

    @staticmethod
    def none(num: int) -> PackedMask:
        """The empty set among `num` Gaussians."""
        return PackedMask(bytes(-(-num // 8)), num)

    def unpack(self) -> Bool[Tensor, " M"]:
        """The mask [num], on the CPU."""
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.num)
        return torch.from_numpy(bits.view(np.bool_))

    @property
    def count(self) -> int:
        """How many are in the set."""
        return int(np.unpackbits(np.frombuffer(self.bits, np.uint8)).sum())

    def to_json(self) -> dict[str, Any]:
        """Length, count, and the compressed bits as text."""
        packed = base64.b64encode(zlib.compress(self.bits, 6)).decode("ascii")
        return {"num": self.num, "num_selected": self.count, "zlib_bits": packed}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> PackedMask:
        """What `to_json` wrote.

        Raises:
            ValueError: it is not that, or has been changed.
        """
        try:
            num, expected = int(record["num"]), int(record["num_selected"])
            size = -(-num // 8)
            data = base64.b64decode(record["zlib_bits"], validate=True)
            bits = zlib.decompressobj().decompress(data, size + 1)
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error, zlib.error) as error:
            raise ValueError(f"not a set of Gaussians ({type(error).__name__}: {error})") from error
        mask = PackedMask(bits, num)
        if num < 0 or len(bits) != size or mask.count != expected:
            raise ValueError(f"a set of Gaussians is damaged: {expected} of {num} were expected")
        return mask
