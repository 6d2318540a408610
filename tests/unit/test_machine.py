"""Which part of the work runs where, as the machine is; and `click-gaussian doctor`."""

from __future__ import annotations

import sys
import types

import pytest
from commands import run_command
from nerfstudio.configs.method_configs import all_methods
from pretend_cuda import pretend_cuda

from click_gaussian_ns.geometry.find_or_train import geometry_config
from click_gaussian_ns.geometry.settings import GeometryConfig
from click_gaussian_ns.method.methods import click_gaussian_method
from click_gaussian_ns.raster.gsplat_build import why_gsplat_cannot_draw
from click_gaussian_ns.runs.machine import default_device, geometry_method, what_does_what


class _Broken(types.ModuleType):
    def __getattr__(self, name: str) -> object:
        if name == "_C":
            raise RuntimeError("Error building extension 'gsplat_cuda'\nnvcc fatal: unsupported gpu architecture")
        raise AttributeError(name)


@pytest.fixture
def fresh() -> None:
    """The answer of this process is forgotten, before and after."""
    why_gsplat_cannot_draw.cache_clear()
    yield
    why_gsplat_cannot_draw.cache_clear()


def test_a_build_that_fails_is_one_line(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", _Broken("gsplat.cuda._backend"))
    assert why_gsplat_cannot_draw() == "gsplat's CUDA kernels did not build: Error building extension 'gsplat_cuda'"
    with pretend_cuda(gsplat_draws=False):
        said = what_does_what("cuda")
        assert geometry_method("cuda") == "splatfacto-cpu"
    assert "did not build" in said and "The CPU draws frames" in said and "doctor" in said and "\n" not in said


def test_no_nvcc_is_said(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", types.SimpleNamespace(_C=None))
    assert "nvcc" in str(why_gsplat_cannot_draw())


def test_without_a_gpu_everything_is_the_cpus() -> None:
    assert default_device() == "cpu" and geometry_method("cpu") == "splatfacto-cpu"
    assert what_does_what("cpu").startswith("Everything runs on the CPU, as PyTorch finds no GPU")


def test_with_gsplat_the_gpu_does_it() -> None:
    with pretend_cuda():
        assert default_device() == "cuda" and geometry_method("cuda") == "splatfacto"
        assert "gsplat draws frames" in what_does_what("cuda")
        assert "as it was asked to" in what_does_what("cpu")


def test_geometry_by_the_cpu_is_trained_on_the_cpu(tmp_path) -> None:
    config = click_gaussian_method().config
    config.machine.device_type, config.output_dir = "cuda", tmp_path
    config.pipeline.datamanager.data = tmp_path
    made = geometry_config(config, GeometryConfig(), all_methods["splatfacto-cpu"])
    assert made.machine.device_type == "cpu" and config.machine.device_type == "cuda"


def test_a_device_that_nothing_draws_on_is_refused(tmp_path) -> None:
    config = click_gaussian_method().config
    config.machine.device_type, config.output_dir = "mps", tmp_path
    with pytest.raises(ValueError, match=r"--machine\.device-type mps: click-gaussian trains on cuda or cpu"):
        config.save_config()


def test_the_doctor_says_what_there_is() -> None:
    told = run_command("click-gaussian", "doctor")
    for word in ("Python", "PyTorch", "GPU", "CPU kernels", "SAM weights", "Extras", "Caches", "This folder"):
        assert word in told
    assert "work;" in told and "Everything runs on the CPU" in told
    with pretend_cuda(gsplat_draws=False):
        told = run_command("click-gaussian", "doctor")
    assert "a pretended GPU, 8.0 of 24.0 GB free" in told and "For more: the CUDA toolkit" in told
