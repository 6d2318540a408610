"""Finding, downloading and reading the weights of SAM and SAM 2."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from click_gaussian_ns.files import cache_home, read_torch_file, written_aside
from click_gaussian_ns.masks.config import AutomaticMaskConfig, Sam2Config, flag

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class OfficialWeights:
    """A weights file that its makers publish."""

    filename: str
    url: str
    sha256: str
    size_mb: int


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"


def _official(base: str, filename: str, size_mb: int, sha256: str) -> OfficialWeights:
    return OfficialWeights(filename, f"{base}/{filename}", sha256, size_mb)


OFFICIAL = {
    "vit_h": _official(
        _SAM, "sam_vit_h_4b8939.pth", 2565, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
    ),
    "vit_l": _official(
        _SAM, "sam_vit_l_0b3195.pth", 1250, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
    ),
    "vit_b": _official(
        _SAM, "sam_vit_b_01ec64.pth", 375, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
    ),
    "large": _official(
        _SAM2, "sam2.1_hiera_large.pt", 898, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"
    ),
    "base_plus": _official(
        _SAM2, "sam2.1_hiera_base_plus.pt", 324, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"
    ),
    "small": _official(
        _SAM2, "sam2.1_hiera_small.pt", 184, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"
    ),
    "tiny": _official(
        _SAM2, "sam2.1_hiera_tiny.pt", 156, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"
    ),
}


def checkpoint_folder() -> Path:
    """Where official weights are looked for and downloaded to."""
    return Path(os.environ.get("CLICK_GAUSSIAN_CHECKPOINTS", cache_home() / "checkpoints"))


def find_checkpoint(config: AutomaticMaskConfig, model: str) -> Path | None:
    """The weights file that is given or lies in the cache folder; None if there is none.

    Raises:
        ValueError: a file is given, but does not exist.
    """
    if config.checkpoint is not None:
        if not config.checkpoint.is_file():
            raise ValueError(f"the checkpoint {config.checkpoint} does not exist: check the path")
        return config.checkpoint
    if model not in OFFICIAL:
        return None
    path = checkpoint_folder() / OFFICIAL[model].filename
    return path if path.is_file() else None


def obtain_checkpoint(config: AutomaticMaskConfig, model: str) -> Path:
    """The weights file, downloaded if need be and allowed.

    Raises:
        ValueError: there is none and it cannot be downloaded; says where it comes from and goes to.
    """
    path = find_checkpoint(config, model)
    if path is not None:
        return path
    if model not in OFFICIAL:
        raise ValueError(f"the model {model} has no official weights: name a file with {_checkpoint_flag(config)}")
    weights = OFFICIAL[model]
    path = checkpoint_folder() / weights.filename
    if not config.download:
        raise ValueError(f"the weights {path} are missing. {_what_to_do(weights, path, _checkpoint_flag(config))}")
    _download(weights, path, _checkpoint_flag(config))
    return path


def checkpoint_digest(config: AutomaticMaskConfig, model: str, path: Path) -> str:
    """SHA-256 of a weights file; an official one must have the published digest.

    Raises:
        ValueError: an official file is damaged.
    """
    import pooch

    found = pooch.file_hash(str(path))
    if config.checkpoint is None and found != OFFICIAL[model].sha256:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {found}, the published one {OFFICIAL[model].sha256}. "
            f"Delete it. {_what_to_do(OFFICIAL[model], path, _checkpoint_flag(config))}"
        )
    return found


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file (those under `model`, where it has such an entry). Runs no code of the file.

    Raises:
        ValueError: truncated, or no weights file.
    """
    import torch

    content = read_torch_file(path, "It is truncated or no PyTorch weights file: download it again.")
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no table of weights: expected a checkpoint of SAM or SAM 2")
    return content


def _checkpoint_flag(config: AutomaticMaskConfig) -> str:
    return flag("sam2.checkpoint" if isinstance(config, Sam2Config) else "sam.checkpoint", "FILE")


def _what_to_do(weights: OfficialWeights, path: Path, place: str) -> str:
    """`place`: the flag that names a weights file elsewhere."""
    return (
        f"Download {weights.url} and put it at {path}, or name its place with {place}, "
        f"or use {flag('mask_generator', 'superpixels')}, which needs no weights."
    )


def _download(weights: OfficialWeights, path: Path, place: str) -> None:
    import pooch

    logger.warning(
        "Downloading %s once, %s MB, from %s to %s", weights.filename, f"{weights.size_mb:,}", weights.url, path
    )
    download = pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT_S)
    try:
        with written_aside(path) as temporary:
            download(weights.url, str(temporary), None)
            found = pooch.file_hash(str(temporary))
            if found != weights.sha256:
                raise ValueError(
                    f"the download of {weights.url} is damaged: its SHA-256 is {found}, the published one "
                    f"{weights.sha256}. Try again. {_what_to_do(weights, path, place)}"
                )
    except OSError as error:
        raise ValueError(
            f"the weights {weights.filename} could not be downloaded ({_first_cause(error)}). "
            f"{_what_to_do(weights, path, place)}"
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    """Of a chain of errors: what the network said, not how often a library tried."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
