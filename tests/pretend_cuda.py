"""A device "cuda:0" that is none: tensors that hold their data on the CPU, say that they are on CUDA, and refuse what a
real CUDA tensor refuses: meeting a CPU tensor, becoming a NumPy array, giving a numba kernel a pointer.

`with pretend_cuda():` makes `torch.cuda.is_available()` true and `.to("cuda")`, `device="cuda"` and `.cuda()` work, in
this thread (and, for tensors that are on the device already, in any thread). gsplat's `rasterization` is replaced by a
function that checks what the real one checks and computes the same on the CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda:0")
aten = torch.ops.aten

# operators that take indices from the CPU for a tensor on CUDA
_CPU_INDICES = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index.Tensor,
    aten._index_put_impl_.default,
    aten._unsafe_index_put.default,
}
_ZERO_DIM_TOO = {aten.fill_.Tensor, aten.fill.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor}
_ANY_DEVICE = {aten.copy_.default, aten._to_copy.default, aten.copy.default, aten.set_.source_Storage}


class DeviceMix(RuntimeError):
    """What PyTorch says with a real device."""


@dataclasses.dataclass
class Log:
    """What happened on the pretended device."""

    transfers: dict[tuple[str, str], list[int]] = dataclasses.field(default_factory=dict)
    """Bytes of copies between devices by direction ("to cuda", "to cpu") and line of the package."""
    waits: dict[str, int] = dataclasses.field(default_factory=dict)
    """By line of the package: values that the host waited for (`item`, `tolist`, `nonzero`, copies to the CPU)."""
    ops: int = 0
    renders: list[tuple[int, int, int, bool]] = dataclasses.field(default_factory=list)
    """Width, height, channels with depth, whether a gradient may be asked for."""

    def clear(self) -> None:
        self.transfers.clear()
        self.renders.clear()
        self.waits.clear()
        self.ops = 0


LOG = Log()


def is_cuda_device(device: Any) -> bool:
    if device is None:
        return False
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return torch.device(device).type == "cuda"


class CudaTensor(Tensor):
    """Holds a CPU tensor, `elem`. The C++ device is the CPU's, so that autograd's engine needs no driver."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor, requires_grad: bool = False) -> CudaTensor:
        assert type(elem) is Tensor, type(elem)
        made = Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device="cpu",
            requires_grad=requires_grad,
        )
        made.elem = elem
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _function(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        LOG.ops += 1
        _check(func, args, kwargs)
        if func in (aten._local_scalar_dense.default, aten.nonzero.default, aten._unique2.default):
            _note_wait()
        inner_args, inner_kwargs = tree_map_only(CudaTensor, lambda t: t.elem, (args, kwargs))
        out = func(*inner_args, **inner_kwargs)
        returned = _written(func, args, kwargs)
        if returned is not None:
            if torch.Tag.inplace_view in func.tags:
                with torch._C._DisableTorchDispatch():
                    func(*args, **kwargs)  # the outer tensor's own sizes and strides
            for tensor in returned:
                if isinstance(tensor, CudaTensor) and tensor.shape != tensor.elem.shape:
                    raise NotImplementedError(f"{func} changed a size in place")
            return returned[0] if len(returned) == 1 else returned
        return tree_map_only(Tensor, lambda t: t if isinstance(t, CudaTensor) else CudaTensor(t), out)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"CudaTensor({self.elem!r})"


def _written(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """The arguments that an in-place operator, or one with `out=`, returns; None for others."""
    schema = func._schema
    if not schema.returns or any(r.alias_info is None or not r.alias_info.is_write for r in schema.returns):
        return None
    found = []
    for ret in schema.returns:
        for place, arg in enumerate(schema.arguments):
            if arg.alias_info is not None and arg.alias_info.before_set & ret.alias_info.before_set:
                found.append(kwargs[arg.name] if arg.name in kwargs else args[place])
                break
    return tuple(found)


def _check(func: Any, args: Any, kwargs: Any) -> None:
    if func in _ANY_DEVICE:
        return
    if func in _CPU_INDICES:
        own, values = args[0], [a for a in args[2:] if isinstance(a, Tensor)]
        if not isinstance(own, CudaTensor):
            raise DeviceMix(f"{func}: indices should be on cpu, as the indexed tensor is")
        mixed = [v for v in values if not isinstance(v, CudaTensor) and v.dim() > 0]
    else:
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        plain = [t for t in tensors if not isinstance(t, CudaTensor)]
        may_be_zero_dim = torch.Tag.pointwise in func.tags or func in _ZERO_DIM_TOO
        mixed = [t for t in plain if not (may_be_zero_dim and t.dim() == 0)]
    if mixed:
        shapes = [tuple(t.shape) for t in mixed]
        raise DeviceMix(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"(on the CPU: {shapes})"
        )


# --- moves


class _ToCuda(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return CudaTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _plain(grads[0])


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: CudaTensor) -> Tensor:
        return tensor.elem.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] if isinstance(grads[0], CudaTensor) else CudaTensor(grads[0])


def _plain(tensor: Tensor) -> Tensor:
    return tensor.elem if isinstance(tensor, CudaTensor) else tensor


def to_cuda(tensor: Tensor) -> Tensor:
    if isinstance(tensor, CudaTensor):
        return tensor
    _note("to cuda", tensor)
    return _ToCuda.apply(tensor)


def to_cpu(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, CudaTensor):
        return tensor
    _note_wait()
    _note("to cpu", tensor)
    return _ToCpu.apply(tensor)


def _place() -> str:
    """The line of the package that a call comes from."""
    for frame in reversed(traceback.extract_stack(limit=40)):
        if "click_gaussian_ns/" in frame.filename:
            return f"{frame.filename.split('click_gaussian_ns/')[-1]}:{frame.lineno}"
    return "elsewhere"


def _note(direction: str, tensor: Tensor) -> None:
    LOG.transfers.setdefault((direction, _place()), []).append(tensor.numel() * tensor.element_size())


def _note_wait() -> None:
    place = _place()
    LOG.waits[place] = LOG.waits.get(place, 0) + 1


def _moved(tensor: Tensor, device: Any) -> Tensor:
    if device is None:
        return tensor
    return to_cuda(tensor) if is_cuda_device(device) else to_cpu(tensor)


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    other = kwargs.pop("other", None)
    rest = []
    for arg in args:
        if isinstance(arg, Tensor):
            other = arg
        elif isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, (str, torch.device)) or (isinstance(arg, int) and not isinstance(arg, bool)):
            device = arg
        else:
            rest.append(arg)
    if other is not None:
        device, dtype = (CUDA if isinstance(other, CudaTensor) else "cpu"), other.dtype
    moved = _moved(tensor, device)
    if dtype is not None and dtype != moved.dtype:
        with torch._C.DisableTorchFunctionSubclass():
            moved = torch.Tensor.to(moved, dtype)
    elif kwargs.get("copy") and moved is tensor:
        moved = moved.clone()
    return moved


# --- functions that never reach the dispatcher, or look at the device


def _refuse_numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _set_data(tensor: CudaTensor, value: Tensor) -> None:
    if isinstance(tensor, CudaTensor) != isinstance(value, CudaTensor):
        raise NotImplementedError(".data of another device: the real one can, this one cannot")
    with torch._C.DisableTorchFunctionSubclass():
        torch.Tensor.data.__set__(tensor, value)
    if isinstance(tensor, CudaTensor):
        tensor.elem = value.elem


def _get_data(tensor: CudaTensor) -> CudaTensor:
    return CudaTensor(tensor.elem.detach())


def _new_tensor(tensor: CudaTensor, data: Any, **kwargs: Any) -> Tensor:
    device = kwargs.pop("device", CUDA)
    kwargs.setdefault("dtype", tensor.dtype)
    return _moved(torch.tensor(data, **kwargs), device)


def _tolist(tensor: CudaTensor) -> Any:
    _note_wait()
    return tensor.elem.tolist()


_ON_CUDA: dict[Any, Callable[..., Any]] = {
    torch.Tensor.numpy: _refuse_numpy,
    torch.Tensor.__array__: _refuse_numpy,
    torch.Tensor.tolist: _tolist,
    torch.Tensor.data_ptr: lambda t: t.elem.data_ptr(),
    torch.Tensor.device.__get__: lambda t: CUDA,
    torch.Tensor.is_cuda.__get__: lambda t: True,
    torch.Tensor.is_cpu.__get__: lambda t: False,
    torch.Tensor.get_device: lambda t: 0,
    torch.Tensor.data.__get__: _get_data,
    torch.Tensor.data.__set__: _set_data,
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.pin_memory: lambda t, *a: (_ for _ in ()).throw(RuntimeError("cannot pin 'torch.cuda.FloatTensor'")),
    torch.Tensor.is_pinned: lambda t, *a: False,
    torch.Tensor.__reduce_ex__: lambda t, proto: (
        t.elem.detach().clone().requires_grad_(t.requires_grad).__reduce_ex__(proto)
    ),
    torch.Tensor.__repr__: lambda t, **k: f"CudaTensor({t.elem!r})",
    torch.Tensor.__format__: lambda t, spec: format(t.elem, spec) if t.dim() == 0 else repr(t),
    torch.Tensor.__deepcopy__: lambda t, memo: CudaTensor(t.elem.detach().clone(), t.requires_grad),
    torch.Tensor.is_shared: lambda t: True,
}
_FOR_ALL: dict[Any, Callable[..., Any]] = {
    torch.Tensor.to: _to,
    torch.Tensor.cuda: lambda t, *a, **k: to_cuda(t),
    torch.Tensor.cpu: lambda t, *a, **k: to_cpu(t),
    torch.Tensor.pin_memory: lambda t, *a: t,
    torch.Tensor.data.__set__: lambda t, value: _set_data(t, value),
}


_BACKWARD = (torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward)
"""In these, functions of both devices run: each makes its tensors where it says."""


def _function(func: Any, args: Any, kwargs: Any) -> Any:
    first = args[0] if args else None
    if isinstance(first, CudaTensor) and func in _ON_CUDA:
        return _ON_CUDA[func](*args, **kwargs)
    if isinstance(first, Tensor) and func in _FOR_ALL:
        return _FOR_ALL[func](*args, **kwargs)
    device = kwargs.get("device")
    if device is not None:
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **{**kwargs, "device": "cpu"})
        return tree_map_only(Tensor, lambda t: _fresh(t, device), made)
    inside: Any = contextlib.nullcontext()
    if func not in _BACKWARD and any(isinstance(t, CudaTensor) for t in tree_flatten((args, kwargs))[0]):
        inside = _FactoriesOnCuda()
    with torch._C.DisableTorchFunctionSubclass(), inside:
        return func(*args, **kwargs)


class _FactoriesOnCuda(TorchDispatchMode):
    """What a function of tensors on the device makes of nothing is on the device too: `quantile` makes its ranks so."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if any(isinstance(t, Tensor) for t in tree_flatten((args, kwargs))[0]):
            return made
        return tree_map_only(Tensor, lambda t: t if isinstance(t, CudaTensor) else CudaTensor(t), made)


def _fresh(tensor: Tensor, device: Any) -> Tensor:
    """A tensor that a factory has just made, on the device that was asked for."""
    if is_cuda_device(device) == isinstance(tensor, CudaTensor):
        return tensor
    if isinstance(tensor, CudaTensor):
        return tensor.elem
    return CudaTensor(tensor.detach(), tensor.requires_grad)


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _function(func, args, kwargs or {})


# --- gsplat

_CHANNELS = 513


def gsplat_stand_in(engine: Callable[..., Any]) -> Callable[..., Any]:
    """gsplat.rendering.rasterization with the checks of gsplat 1.4.0's Python and C++, computed by `engine` on CPU."""

    def rasterization(
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        *,
        sh_degree: int | None = None,
        render_mode: str = "RGB",
        rasterize_mode: str = "classic",
        packed: bool = True,
        absgrad: bool = False,
        sparse_grad: bool = False,
        **more: Any,
    ) -> Any:
        given = dict(
            means=means, quats=quats, scales=scales, opacities=opacities, colors=colors, viewmats=viewmats, Ks=Ks
        )
        num, cameras = means.shape[0], viewmats.shape[0]
        for name, tensor in given.items():
            if not isinstance(tensor, CudaTensor):
                raise RuntimeError(f"{name} must be a CUDA tensor")
            if tensor.dtype != torch.float32:
                raise RuntimeError(f"expected scalar type Float but found {tensor.dtype} ({name})")
        assert means.shape == (num, 3) and quats.shape == (num, 4) and scales.shape == (num, 3)
        assert opacities.shape == (num,) and viewmats.shape == (cameras, 4, 4) and Ks.shape == (cameras, 3, 3)
        if sh_degree is None:
            assert colors.dim() == 2 and colors.shape[0] == num
        channels = colors.shape[-1] if sh_degree is None else 3
        channels += render_mode in ("RGB+D", "RGB+ED")
        if channels == 0 or channels > _CHANNELS:
            raise ValueError(f"Unsupported number of color channels: {channels}")
        LOG.renders.append((width, height, channels, torch.is_grad_enabled() and colors.requires_grad))
        image, alpha, info = engine(
            *(to_cpu(t) for t in given.values()),
            width,
            height,
            sh_degree=sh_degree,
            render_mode=render_mode,
            rasterize_mode=rasterize_mode,
        )
        moved = {name: to_cuda(v) if isinstance(v, Tensor) else v for name, v in info.items()}
        return to_cuda(image), to_cuda(alpha), moved

    return rasterization


@contextlib.contextmanager
def pretend_cuda(gsplat_draws: bool = True) -> Iterator[Log]:
    """See above. Without `gsplat_draws` gsplat is as the machine has it: where there is no nvcc it cannot draw."""
    import gsplat.rendering  # noqa: F401
    import torch._dynamo  # noqa: F401  operators import it, and it must not see what is patched below

    from click_gaussian_ns.raster.differentiable import rasterization

    LOG.clear()
    patches = [
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=1),
        mock.patch("torch.cuda.current_device", return_value=0),
        mock.patch("torch.cuda.synchronize", return_value=None),
        mock.patch("torch.cuda.empty_cache", return_value=None),
        mock.patch("torch.cuda.mem_get_info", return_value=(8 * 2**30, 24 * 2**30)),
        mock.patch("torch.cuda.max_memory_allocated", return_value=0),
        mock.patch("torch.optim.optimizer.Optimizer._accelerator_graph_capture_health_check", return_value=None),
        # a module's parameter that moves becomes another object; with a real device it stays the same
        mock.patch(
            "torch._has_compatible_shallow_copy_type",
            lambda a, b: isinstance(a, CudaTensor) == isinstance(b, CudaTensor),
        ),
        mock.patch("torch.cuda.get_device_name", return_value="a pretended GPU"),
    ]
    if gsplat_draws:
        patches += [
            mock.patch("gsplat.rendering.rasterization", gsplat_stand_in(rasterization)),
            mock.patch("click_gaussian_ns.raster.gsplat_build.why_gsplat_cannot_draw", return_value=None),
            mock.patch("click_gaussian_ns.runs.machine.why_gsplat_cannot_draw", return_value=None),
        ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(_Mode())
        yield LOG
