"""`splatfacto-cpu`: nerfstudio's splatfacto, its losses and its densification, on the CPU rasterizer."""

from __future__ import annotations

from typing import Any, cast

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components.lib_bilagrid import BilateralGrid
from nerfstudio.models.splatfacto import RGB2SH, SplatfactoModel, num_sh_bases, random_quat_tensor
from nerfstudio.utils.colors import get_color
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from click_gaussian_ns.geometry.datamanager import GeometryDataManager
from click_gaussian_ns.geometry.densify import CappedStrategy
from click_gaussian_ns.geometry.exposure import Exposures
from click_gaussian_ns.geometry.rooms import Rooms, camera_rooms
from click_gaussian_ns.geometry.settings import GEOMETRY_STEPS, SplatfactoCpuModelConfig
from click_gaussian_ns.raster.differentiable import rasterization
from click_gaussian_ns.raster.similarity import structural_similarity
from click_gaussian_ns.scenes.views import camera_view
from click_gaussian_ns.types import VIEWER_GRAY, PinholeView

_STEPS_PER_SUMMARY = 100
_INVISIBLE = -10.0
"""Logit of an opacity far below 1/255."""


class SplatfactoCpuModel(SplatfactoModel):
    """A SplatfactoModel whose checkpoints are ordinary ones; what differs is who renders, and for how long."""

    config: SplatfactoCpuModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def populate_modules(self) -> None:
        from torchmetrics.image import PeakSignalNoiseRatio

        config = self.config
        if config.camera_optimizer.mode != "off":
            raise ValueError("splatfacto-cpu takes the poses as they are: camera-optimizer.mode must be off")
        self.gauss_params = nn.ParameterDict({name: nn.Parameter(value) for name, value in self._initial().items()})
        self.camera_optimizer = config.camera_optimizer.setup(num_cameras=self.num_train_data, device="cpu")
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = _Similarity()
        self.step = 0
        self.crop_box: OrientedBox | None = None
        random = config.background_color == "random"
        self.background_color = torch.tensor(VIEWER_GRAY) if random else get_color(config.background_color)
        if config.use_bilateral_grid:
            x, y, w = config.grid_shape
            self.bil_grids = BilateralGrid(num=self.num_train_data, grid_X=x, grid_Y=y, grid_W=w)
        self.exposures = Exposures(self.num_train_data)
        self._stretch = 1.0
        self._num_steps = GEOMETRY_STEPS
        self.strategy = self._strategy()
        self.strategy_state = self.strategy.initialize_state(scene_scale=1.0)

    def _initial(self) -> dict[str, Tensor]:
        """Gaussians at the seed points, or in a cube where there are none, as splatfacto starts."""
        config = self.config
        seeded = self.seed_points is not None and not config.random_init and len(self.seed_points[0]) > 0
        if seeded:
            assert self.seed_points is not None
            points, colors = self.seed_points
            if len(points) > config.max_gaussians:
                chosen = torch.randperm(len(points))[: config.max_gaussians]
                points, colors = points[chosen], colors[chosen] if len(colors) else colors
        else:
            points = (torch.rand(min(config.num_random, config.max_gaussians), 3) - 0.5) * config.random_scale
            colors = torch.zeros(0, 3)
        num = len(points)
        rgb = colors.float() / 255 if len(colors) else torch.rand(num, 3)
        distances, _ = self.k_nearest_sklearn(points, min(3, num - 1))
        spacing = torch.from_numpy(distances).mean(dim=-1, keepdim=True).clamp_min(1e-7)
        return {
            "means": points.float().clone(),
            "scales": spacing.log().repeat(1, 3),
            "quats": random_quat_tensor(num),
            "features_dc": RGB2SH(rgb) if config.sh_degree > 0 else torch.logit(rgb, eps=1e-10),
            "features_rest": torch.zeros(num, num_sh_bases(config.sh_degree) - 1, 3),
            "opacities": torch.logit(0.1 * torch.ones(num, 1)),
        }

    def _strategy(self) -> CappedStrategy:
        config = self.config
        return CappedStrategy(
            prune_opa=config.cull_alpha_thresh,
            grow_grad2d=config.densify_grad_thresh,
            grow_scale3d=config.densify_size_thresh,
            grow_scale2d=config.split_screen_size,
            prune_scale3d=config.cull_scale_thresh,
            prune_scale2d=config.cull_screen_size,
            refine_scale2d_stop_iter=config.stop_screen_size_at,
            refine_start_iter=config.warmup_length,
            refine_stop_iter=config.stop_split_at,
            reset_every=config.reset_alpha_every * config.refine_every,
            refine_every=config.refine_every,
            pause_refine_after_reset=0,
            absgrad=config.use_absgrad,
            max_gaussians=config.max_gaussians,
        )

    def load_state_dict(self, dict: dict[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Take over a checkpoint's sizes, in the same Parameters: the optimizers hold on to them."""
        for name, parameter in self.gauss_params.items():
            value = dict[f"gauss_params.{name}"]
            if parameter.shape != value.shape:
                parameter.data = torch.empty_like(value, device=self.device)
        # not in the checkpoints of earlier versions
        dict = {**dict, "exposures.offsets": dict.get("exposures.offsets", self.exposures.offsets)}
        return nn.Module.load_state_dict(self, dict, **kwargs)

    # --- training

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {**super().get_param_groups(), "exposures": list(self.exposures.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer, pipeline = training_callback_attributes.trainer, training_callback_attributes.pipeline
        assert trainer is not None
        self._num_steps = trainer._start_step + trainer.config.max_num_iterations
        self._stretch = self._num_steps / GEOMETRY_STEPS
        self.strategy = self._strategy().stretched(self._stretch)
        first_rates = {name: trainer.config.optimizers[name]["optimizer"].lr for name in ("means", "exposures")}

        def before(step: int) -> None:
            # by the step alone, so that a resumed run goes on as it would have
            progress = min(step / max(self._num_steps - 1, 1), 1.0)
            for name, rate in first_rates.items():
                for group in self.optimizers[name].param_groups:
                    group["lr"] = rate * self.config.means_lr_decay**progress

        manager = None if pipeline is None else cast(GeometryDataManager, pipeline.datamanager)
        rooms = None if manager is None else camera_rooms(manager.sfm_points, _all_views(manager))

        def after(step: int) -> None:
            if rooms is not None and step % self.strategy.refine_every == 0 and step > 0:
                self._clear(rooms)

        def after_training(step: int) -> None:
            if pipeline is None or not pipeline.datamanager.eval_dataset:
                return
            found = cast("dict[str, float]", pipeline.get_average_eval_image_metrics(step=step))
            psnr, ssim = found["psnr"], found["ssim"]
            CONSOLE.log(f"Eval photos: mean PSNR {psnr:.2f} dB, SSIM {ssim:.4f}; {self.num_points:,} Gaussians")

        return [
            *callbacks,
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], before),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], after),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], after_training),
        ]

    @torch.no_grad()
    def _clear(self, rooms: Rooms) -> None:
        """What got into the rooms of the cameras is drawn no more, and culled where Gaussians are."""
        inside = rooms.contain(self.means.detach(), self.scales.detach().exp())
        self.gauss_params["opacities"].data[inside] = _INVISIBLE

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training:
            losses["exposure"] = self.exposures.distance(batch["image_idx"])
        return losses

    def get_metrics_dict(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        metrics = super().get_metrics_dict(outputs, batch)
        if self.training and self.step % _STEPS_PER_SUMMARY == 0:
            CONSOLE.log(f"step {self.step}: PSNR {float(metrics['psnr']):.2f} dB, {self.num_points:,} Gaussians")
        return metrics

    def _get_downscale_factor(self) -> int:
        if not self.training:
            return 1
        doublings = int(self.step / (self.config.resolution_schedule * self._stretch))
        return 2 ** max(self.config.num_downscales - doublings, 0)

    def _sh_degree(self) -> int:
        """Degrees that are not yet trained are zero: outside training all are used."""
        if not self.training:
            return self.config.sh_degree
        return min(int(self.step / (self.config.sh_degree_interval * self._stretch)), self.config.sh_degree)

    # --- rendering

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """`rgb` [H, W, 3], `depth` [H, W, 1] (None in training), `accumulation` [H, W, 1], `background`."""
        params = {name: self.gauss_params[name] for name in self.gauss_params}
        view = camera_view(camera)
        if self.crop_box is not None and not self.training:
            inside = self.crop_box.within(self.means).reshape(-1)
            if not bool(inside.any()):
                return dict(self.get_empty_outputs(view.width, view.height, self.background_color))
            params = {name: value[inside] for name, value in params.items()}
        factor = self._get_downscale_factor()
        width, height = view.width // factor, view.height // factor
        K = view.K * torch.tensor([1 / factor, 1 / factor, 1.0])[:, None]
        self.last_size = (height, width)
        with_depth = self.config.output_depth_during_training or not self.training
        has_sh = self.config.sh_degree > 0
        sh = torch.cat([params["features_dc"][:, None], params["features_rest"]], dim=1)
        render, alpha, self.info = rasterization(
            means=params["means"],
            quats=params["quats"],
            scales=params["scales"].exp(),
            opacities=params["opacities"].sigmoid()[:, 0],
            colors=sh if has_sh else params["features_dc"].sigmoid(),
            viewmats=view.viewmat[None],
            Ks=K[None],
            width=width,
            height=height,
            render_mode="RGB+ED" if with_depth else "RGB",
            sh_degree=self._sh_degree() if has_sh else None,
            absgrad=self.strategy.absgrad,
            rasterize_mode=self.config.rasterize_mode,
        )
        if self.training:
            self.strategy.step_pre_backward(
                self.gauss_params, self.optimizers, self.strategy_state, self.step, self.info
            )
        background = self._get_background_color()
        rgb = (render[..., :3] + (1 - alpha) * background).clamp(0.0, 1.0)
        photo = (camera.metadata or {}).get("cam_idx") if self.training else None
        if photo is not None:
            rgb = self.exposures(rgb[0], photo)[None]
        if self.config.use_bilateral_grid and photo is not None:
            rgb = self._apply_bilateral_grid(rgb, photo, height, width)
        depth = None
        if with_depth:
            depth = torch.where(alpha > 0, render[..., 3:4], render[..., 3:4].detach().max())[0]
        if not self.training:
            background = background.expand(height, width, 3)
        return {"rgb": rgb[0], "depth": depth, "accumulation": alpha[0], "background": background}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and SSIM, and photo beside render. No LPIPS: it would download a network."""
        photo = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
        rgb = outputs["rgb"]
        as_batch = (photo.permute(2, 0, 1)[None], rgb.permute(2, 0, 1)[None])
        metrics = {"psnr": float(self.psnr(*as_batch)), "ssim": float(self.ssim(*as_batch))}
        return metrics, {"img": torch.cat([photo, rgb], dim=1)}


def _all_views(datamanager: GeometryDataManager) -> list[PinholeView]:
    """Of the photos for training and for testing."""
    sets = (datamanager.train_dataset.cameras, datamanager.eval_dataset.cameras)
    return [camera_view(cameras[i : i + 1]) for cameras in sets for i in range(len(cameras))]


class _Similarity(nn.Module):
    """Stands where splatfacto has pytorch_msssim's: pictures [1, 3, H, W]."""

    def forward(self, target: Tensor, picture: Tensor) -> Tensor:
        return structural_similarity(target[0], picture[0])
