"""Breaks of core behaviour, one line each, and the tests that must notice them.

Add one with every behaviour that a test is to guard: the test is worth what it catches.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A deliberate break."""

    name: str
    file: str
    """Below click_gaussian_ns/."""
    old: str
    """Occurs exactly once in the file."""
    new: str
    tests: tuple[str, ...]
    """pytest's node IDs, below tests/, of which at least one must fail."""
    quick: bool = False
    """Its tests compile no kernel, or hardly any: CI runs a sample of these."""
    in_kernels: bool = False
    """What it changes is compiled into kernels, which must be compiled anew."""


_SPLAT_FILES = "cases/test_splat_files.py::"
_PLY = "unit/test_ply.py::"
_TRANSFORMS = "unit/test_transforms.py::"
_EXPORT = "unit/test_export.py::"
_SHELL = "unit/test_shell.py::"
_EDIT = "unit/test_edit_scene.py::"
_STATE = "unit/test_viewer_state.py::"
_FILES = "unit/test_viewer_files.py::"
_MODEL = "unit/test_model.py::"
_TRAINING = "unit/test_feature_training.py::"
_OBJECTIVE = "unit/test_objective.py::"
_DATA = "unit/test_datamanager.py::"
_TREE = "unit/test_tree.py::"
_HELD_OUT = "unit/test_held_out.py::"
_AGREED = "unit/test_agreed_labels.py::"
_PAPER = "parity/test_objective_literal.py::test_a_step_is_the_papers_total"
_LOSSES = "parity/test_losses_literal.py::"

MUTANTS: tuple[Mutant, ...] = (
    # --- export
    Mutant(
        "export writes what is too faint to be drawn",
        "edit/export.py",
        "kept = mask & visible_gaussians(splats.opacity_logits)",
        "kept = mask",
        (_EXPORT + "test_what_is_too_faint_to_be_drawn_is_not_written",),
        quick=True,
    ),
    Mutant(
        "the export's frames are swapped",
        "edit/export.py",
        'if frame == "world":',
        'if frame != "world":',
        (_EXPORT + "test_frames_are_not_swapped",),
        quick=True,
    ),
    Mutant(
        "the export to the world goes the other way",
        "edit/export.py",
        "to_dataparser.inverse())",
        "to_dataparser)",
        (_EXPORT + "test_frames_are_not_swapped",),
        quick=True,
    ),
    Mutant(
        "objects are exported under the next one's number",
        "edit/export.py",
        "mask = (labels == label) & visible",
        "mask = (labels == label + 1) & visible",
        (_EXPORT + "test_objects_are_written_without_what_is_too_faint",),
        quick=True,
    ),
    Mutant(
        "the complement is the selection",
        "runs/commands.py",
        "mask if selection is not None else ~mask",
        "mask",
        (_SHELL + "test_a_selection_and_its_complement_are_the_scene",),
    ),
    Mutant(
        "objects of an edited scene keep the rows of the unedited one",
        "runs/commands.py",
        "objects[rows],",
        "objects[: len(rows)],",
        (_SHELL + "test_objects_are_those_of_the_level_after_the_edits",),
    ),
    Mutant(
        "an export replaces what is there",
        "runs/commands.py",
        'refuse_existing(file, overwrite, "give another --output-dir")',
        'refuse_existing(file, True, "give another --output-dir")',
        (_SHELL + "test_a_selection_and_its_complement_are_the_scene",),
    ),
    # --- the shell's click
    Mutant(
        "the shell's click is always coarse",
        "runs/commands.py",
        "return pick(prepared, run.features, level, run.clusters, in_view)",
        "return pick(prepared, run.features, run.levels[0], run.clusters, in_view)",
        (_SHELL + "test_a_click_selects_at_the_level_that_was_asked_for",),
    ),
    Mutant(
        "the level asked for is not looked up",
        "runs/open_run.py",
        "if level.name == name:",
        "if level.name:",
        (_SHELL + "test_a_click_selects_at_the_level_that_was_asked_for",),
    ),
    Mutant(
        "a click on a distorted photo is taken for one on its undistorted view",
        "runs/commands.py",
        "in_view = [undistorted_click(click, source) for click in clicks]",
        "in_view = list(clicks)",
        (_SHELL + "test_a_click_on_a_distorted_photo_is_on_the_photo",),
    ),
    Mutant(
        "a saved selection is overwritten",
        "runs/commands.py",
        'overwrite, "give another --name")',
        'True, "give another --name")',
        (_SHELL + "test_a_saved_selection_is_replaced_only_if_asked",),
    ),
    Mutant(
        "whatever is named is overwritten",
        "files.py",
        "if path.exists() and not overwrite:",
        "if path.exists() and overwrite:",
        ("unit/test_files.py::test_nothing_is_replaced_unasked",),
        quick=True,
    ),
    Mutant(
        "a photo's place counts from 1",
        "runs/open_run.py",
        "return self.views[int(camera)]",
        "return self.views[int(camera) - 1]",
        (_SHELL + "test_photos_are_found_by_name_and_by_place",),
        quick=True,
    ),
    Mutant(
        "a photo's place goes before its name",
        "runs/open_run.py",
        "if place is not None:",
        "if place is not None and not camera.isdecimal():",
        (_SHELL + "test_photos_are_found_by_name_and_by_place",),
        quick=True,
    ),
    # --- picking
    Mutant(
        "what is too faint to be drawn is selected",
        "selection/pick.py",
        "mask = members(clusters.labels, ids) & visible_gaussians(opacity_logits)",
        "mask = members(clusters.labels, ids)",
        (_SHELL + "test_a_click_selects_at_the_level_that_was_asked_for",),
    ),
    Mutant(
        "negative clicks are ignored",
        "selection/pick.py",
        "return replace(selection, mask=without_dominated(features, selection.mask, prompts))",
        "return selection",
        (_SHELL + "test_a_negative_point_takes_its_part_away",),
    ),
    Mutant(
        "negative clicks keep what they should take away",
        "selection/pick.py",
        "to_negative >= to_positive",
        "to_negative < to_positive",
        (_STATE + "test_not_this_dominates_also_what_is_added_later",),
    ),
    Mutant(
        "negative clicks select",
        "selection/pick.py",
        "hit = [prompt.cluster_id for prompt in prompts if not prompt.negative]",
        "hit = [prompt.cluster_id for prompt in prompts if prompt.negative]",
        (_SHELL + "test_a_click_selects_at_the_level_that_was_asked_for",),
    ),
    Mutant(
        "a click reads the pixel of rows and columns swapped",
        "selection/pick.py",
        "column, row = math.floor(click.x_px), math.floor(click.y_px)",
        "row, column = math.floor(click.x_px), math.floor(click.y_px)",
        (_SHELL + "test_a_click_selects_at_the_level_that_was_asked_for",),
    ),
    # --- selections
    Mutant(
        "removing keeps what is removed",
        "selection/operations.py",
        "return current & ~picked",
        "return current & picked",
        ("unit/test_selection_operations.py::test_combine_is_set_algebra",),
        quick=True,
    ),
    Mutant(
        "adding replaces",
        "selection/operations.py",
        "return current | picked",
        "return picked",
        ("unit/test_selection_operations.py::test_combine_is_set_algebra",),
        quick=True,
    ),
    Mutant(
        "the smallest piece is kept",
        "selection/operations.py",
        "np.bincount(piece).argmax()",
        "np.bincount(piece).argmin()",
        ("unit/test_selection_operations.py::test_the_largest_piece_is_kept_and_floaters_go",),
        quick=True,
    ),
    Mutant(
        "a cluster with half its pixels outside is the object's",
        "selection/propagate.py",
        "np.flatnonzero(within > without)",
        "np.flatnonzero(within >= without)",
        ("unit/test_propagate.py::test_a_cluster_belongs_to_an_object_if_most_of_its_pixels_do",),
        quick=True,
    ),
    Mutant(
        "barely covered pixels show a cluster",
        "selection/propagate.py",
        "covered = alpha.reshape(-1) >= MIN_COVERAGE",
        "covered = alpha.reshape(-1) > 0",
        ("unit/test_propagate.py::test_cluster_map_takes_the_most_similar_centre_where_something_is",),
        quick=True,
    ),
    Mutant(
        "a selection of another scene is read",
        "selection/storage.py",
        "ids.max() >= num_gaussians",
        "ids.max() > num_gaussians",
        ("unit/test_selection_storage.py::test_a_selection_of_another_scene_is_refused",),
        quick=True,
    ),
    # --- the viewer's state
    Mutant(
        "later additions forget negative clicks",
        "viewer/state.py",
        "if any(p.negative for p in prompts):",
        "if False:",
        (_STATE + "test_not_this_dominates_also_what_is_added_later",),
    ),
    Mutant(
        "a cluster that is removed is still listed",
        "viewer/state.py",
        "        ids -= hit\n",
        "        ids |= hit\n",
        (_STATE + "test_modes_combine_and_track_their_clusters",),
    ),
    Mutant(
        "the viewer saves over a selection",
        "viewer/files.py",
        "if selection_dir(run_dir, name).exists():",
        "if False:",
        (_FILES + "test_save_load_delete",),
    ),
    Mutant(
        "the viewer exports over a file",
        "viewer/files.py",
        "if target.exists():",
        "if False:",
        (_FILES + "test_an_export_that_exists_is_not_overwritten",),
    ),
    # --- edits
    Mutant(
        "undo goes back to the start",
        "edit/history.py",
        "return History(self.past[-1], self.past[:-1],",
        "return History(self.past[0], self.past[:-1],",
        (_EDIT + "test_history_goes_back_and_forth_and_forgets_what_was_undone",),
        quick=True,
    ),
    Mutant(
        "an edit list is replayed backwards",
        "edit/record.py",
        "return tuple(edits)",
        "return tuple(reversed(edits))",
        (_EDIT + "test_an_edit_list_survives_its_file",),
        quick=True,
    ),
    Mutant(
        "the second move of a Gaussian goes before the first",
        "edit/operations.py",
        "return Adjustment(self.similarity.then(edit.similarity), self.gain, self.offset)",
        "return Adjustment(edit.similarity.then(self.similarity), self.gain, self.offset)",
        (_EDIT + "test_the_first_move_goes_first",),
        quick=True,
    ),
    Mutant(
        "recolouring forgets the constant half",
        "edit/scene.py",
        "offset = sh.new_tensor(adjustment.offset) + 0.5 * (adjustment.gain - 1.0)",
        "offset = sh.new_tensor(adjustment.offset)",
        (_EDIT + "test_recolouring_mixes_the_picture_linearly",),
        quick=True,
    ),
    Mutant(
        "isolating removes the selection",
        "edit/scene.py",
        "touched = (scene.alive & ~mask) if isinstance(edit, Isolate) else (scene.alive & mask)",
        "touched = scene.alive & mask",
        (_EDIT + "test_remove_and_isolate_are_complements",),
        quick=True,
    ),
    Mutant(
        "a rotation does not turn the colours of what it turns",
        "edit/operations.py",
        'fields |= {"quats", "sh"}',
        'fields |= {"quats"}',
        (_EDIT + "test_a_transform_turns_about_its_pivot_and_leaves_the_rest",),
        quick=True,
    ),
    # --- splats in and out
    Mutant(
        "colours keep their directions when the scene turns",
        "splats/transforms.py",
        "sh = rotate_sh(sh, rotation)",
        "sh = sh.clone()",
        (_TRANSFORMS + "test_every_parameter_follows_the_similarity",),
        quick=True,
    ),
    Mutant(
        "sizes do not scale with the scene",
        "splats/transforms.py",
        "log_scales = log_scales + math.log(similarity.scale)",
        "log_scales = log_scales * similarity.scale",
        (_TRANSFORMS + "test_every_parameter_follows_the_similarity",),
        quick=True,
    ),
    Mutant(
        "the translation is not scaled",
        "splats/transforms.py",
        "(similarity.scale * (means.double() @ rotation.T + translation))",
        "(similarity.scale * (means.double() @ rotation.T) + translation)",
        (_TRANSFORMS + "test_convention_is_nerfstudios",),
        quick=True,
    ),
    Mutant(
        ".ply files are written big endian",
        "splats/ply.py",
        'byte_order="<", comments=comments',
        'byte_order=">", comments=comments',
        (_PLY + "test_writes_the_vanilla_layout_and_nothing_more",),
        quick=True,
    ),
    Mutant(
        "opacities are written after the sigmoid",
        "splats/ply.py",
        '(("opacity",), splats.opacity_logits[:, None])',
        '(("opacity",), splats.opacity_logits[:, None].sigmoid())',
        (_PLY + "test_round_trip",),
        quick=True,
    ),
    Mutant(
        "quaternions are read with w last",
        "splats/ply.py",
        '_columns(data, ("rot_0", "rot_1", "rot_2", "rot_3"))',
        '_columns(data, ("rot_1", "rot_2", "rot_3", "rot_0"))',
        (_PLY + "test_round_trip",),
        quick=True,
    ),
    Mutant(
        "the rest of the harmonics is read by coefficient",
        "splats/ply.py",
        "_columns(data, _rest_names(degree)).reshape(num, 3, -1)",
        "_columns(data, _rest_names(degree)).reshape(num, -1, 3).transpose(0, 2, 1)",
        (_PLY + "test_round_trip",),
        quick=True,
    ),
    Mutant(
        "an .spz is not turned to its axes",
        "splats/formats.py",
        "torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)",
        "torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)",
        ("unit/test_formats.py::test_spz_files_hold_the_scene_half_turned",),
        quick=True,
    ),
    Mutant(
        "what is fully opaque is dropped",
        "splats/subset.py",
        "infinite = splats.opacity_logits.isinf() |",
        "infinite = splats.opacity_logits.isneginf() |",
        (_SPLAT_FILES + "test_infinities_mean_something",),
        quick=True,
    ),
    Mutant(
        "filter_3D makes no Gaussian fainter",
        "splats/ply.py",
        "* (variances / larger).prod(dim=1).sqrt()",
        "* 1.0",
        (_SPLAT_FILES + "test_filter_3d_makes_gaussians_larger_and_fainter",),
        quick=True,
    ),
    Mutant(
        "the smallest COLMAP model is taken",
        "scenes/data_layout.py",
        "best = max(models, key=models.__getitem__)",
        "best = min(models, key=models.__getitem__)",
        ("cases/test_colmap_models.py::test_the_largest_model_is_found",),
        quick=True,
    ),
    Mutant(
        "a copied run answers with the original's checkpoint",
        "runs/open_run.py",
        "config.relative_model_dir = run_dir / config.relative_model_dir",
        "pass",
        ("e2e/test_moved_run.py::test_a_copy_answers_with_its_own_checkpoint",),
    ),
    # --- what a step sees
    Mutant(
        "every step samples the same pixels",
        "method/datamanager.py",
        "rng = np.random.default_rng((self.config.seed, step, 0))",
        "rng = np.random.default_rng((self.config.seed, 0, 0))",
        (_DATA + "test_every_step_has_pixels_of_its_own",),
    ),
    Mutant(
        "every epoch has the same order of views",
        "method/datamanager.py",
        "np.random.default_rng((self.config.seed, step // len(views)))",
        "np.random.default_rng((self.config.seed, 0))",
        (_DATA + "test_every_view_comes_once_per_epoch_in_another_order",),
    ),
    Mutant(
        "views are drawn with repetition",
        "method/datamanager.py",
        "index = views[int(order[step % len(views)])]",
        "index = views[int(order[step * step % len(views)])]",
        (_DATA + "test_every_view_comes_once_per_epoch_in_another_order",),
    ),
    Mutant(
        "every step samples the same Gaussians",
        "method/feature_training.py",
        "rng = np.random.default_rng((model.config.seed, step, 1))",
        "rng = np.random.default_rng((model.config.seed, 0, 1))",
        (_TRAINING + "test_steps_differ_and_repeat",),
    ),
    Mutant(
        "global guidance is left out of a step",
        "method/feature_training.py",
        "self._neighbors, model.guides, rng)",
        "self._neighbors, {}, rng)",
        (_TRAINING + "test_a_step_is_the_sum_of_the_literal_terms",),
    ),
    Mutant(
        "the gradient of an earlier step is written over",
        "method/feature_training.py",
        "if features.grad is not None or self._gradient is None:",
        "if self._gradient is None:",
        (_TRAINING + "test_gradients_that_are_kept_are_not_written_over",),
    ),
    Mutant(
        "kept views cost nothing",
        "method/feature_training.py",
        "self._budget_bytes -= prepared.num_bytes",
        "self._budget_bytes -= 0",
        (_TRAINING + "test_views_are_kept_while_the_budget_lasts",),
    ),
    Mutant(
        "views are kept whole where that leaves no room for others",
        "method/feature_training.py",
        "if prepared.num_bytes > self._budget_bytes / max(len(self._views) - len(self._prepared), 1):",
        "if False:",
        (_TRAINING + "test_views_are_kept_while_the_budget_lasts",),
    ),
    # --- the objective
    Mutant(
        "global guidance is left out of the objective",
        "method/objective.py",
        "        guides=guides,\n",
        "        guides={},\n",
        (_PAPER,),
    ),
    Mutant(
        "the negative term attracts",
        "features/terms/contrastive.py",
        "            contrastive_negative(\n",
        "            -contrastive_negative(\n",
        (_PAPER,),
    ),
    Mutant(
        "weights are added instead of multiplied",
        "method/objective.py",
        "found[term.name] = weight * value",
        "found[term.name] = weight + value",
        (_OBJECTIVE + "test_each_setting_weighs_its_term",),
    ),
    Mutant(
        "segments are never balanced",
        "method/objective.py",
        "segment_balance=config.segment_balance,",
        "segment_balance=0.0,",
        (_OBJECTIVE + "test_the_segment_balance_and_threshold_reach_the_terms",),
    ),
    Mutant(
        "what the pixels teach does not reach the Gaussians",
        "method/objective.py",
        "matrices.add_gradient(rows, rendered.grad, gradient)",
        "pass",
        (_OBJECTIVE + "test_a_step_on_cpu_is_the_gradient_of_the_literal_terms",),
    ),
    Mutant(
        "pixels without a segment take part",
        "features/terms/term.py",
        "assigned = labels > 0",
        "assigned = labels >= 0",
        (_PAPER,),
    ),
    Mutant(
        "the coarse channels learn from the fine negative term",
        "features/terms/contrastive.py",
        "gradient[:, :num_detached] = 0.0",
        "gradient[:, :0] = 0.0",
        (_LOSSES + "test_stop_gradient_reaches_the_coarse_channels_only",),
    ),
    Mutant(
        "balanced segments weigh double",
        "features/terms/contrastive.py",
        "(scale.sqrt() * sizes.pow(-balance / 2.0))",
        "(scale.sqrt() * sizes.pow(-balance))",
        (_LOSSES + "test_balanced_terms_equal_the_weighted_sums",),
    ),
    Mutant(
        "a Gaussian pushes itself from its home",
        "features/terms/guidance.py",
        "others.scatter_(1, best_id, False)",
        "others.scatter_(1, best_id, True)",
        (_LOSSES + "test_global_feature_guidance_equals_the_sums",),
    ),
    Mutant(
        "the fine features are held to the coarse radius",
        "features/levels.py",
        "radius=(i + 1) ** 0.5 if prior else 1.0,",
        "radius=1.0,",
        ("unit/test_levels.py::test_two_levels_with_the_prior_are_the_papers",),
        quick=True,
    ),
    # --- the model
    Mutant(
        "the agreement is ignored",
        "method/model.py",
        "sure = clusters.homes.margin > self.config.research.gfl_agreement",
        "sure = clusters.homes.margin >= 0",
        (_MODEL + "test_only_gaussians_that_the_segments_agree_on_are_guided",),
    ),
    Mutant(
        "homes pull although no agreement is asked for",
        "method/model.py",
        'return self.config.research.clusters == "segments" and self.config.research.gfl_agreement > 0',
        'return self.config.research.clusters == "segments"',
        (_MODEL + "test_only_gaussians_that_the_segments_agree_on_are_guided",),
    ),
    Mutant(
        "a resumed run's optimizer holds features that nobody reads",
        "method/model.py",
        'self.click_features.data = torch.empty_like(state["click_features"], device=self.device)',
        'self.click_features = nn.Parameter(torch.empty_like(state["click_features"], device=self.device))',
        (_MODEL + "test_a_checkpoint_brings_its_sizes",),
    ),
    Mutant(
        "a checkpoint's degree of harmonics is not taken over",
        "method/model.py",
        'self.config.sh_degree = round((state["gauss_params.features_rest"].shape[1] + 1) ** 0.5) - 1',
        "pass",
        (_MODEL + "test_a_checkpoint_brings_its_sizes",),
    ),
    Mutant(
        "a selection's config exports everything",
        "method/model.py",
        "value[mask] if key.startswith(_PER_GAUSSIAN) else value",
        "value",
        (_MODEL + "test_a_selections_config_loads_its_gaussians_alone",),
    ),
    Mutant(
        "the crop box shows what is outside",
        "method/model.py",
        "shown_splats(splats, crop_box.within(splats.means).reshape(-1))",
        "shown_splats(splats, ~crop_box.within(splats.means).reshape(-1))",
        (_MODEL + "test_the_crop_box_leaves_what_is_inside",),
    ),
    Mutant(
        "antialiased geometry is drawn classic",
        "method/model.py",
        'loaded.antialiased if mode == "auto" else mode == "antialiased"',
        'mode == "antialiased"',
        (_MODEL + "test_antialiased_geometry_is_drawn_antialiased",),
    ),
    Mutant(
        "colours of features flip as the decomposition likes",
        "method/outputs.py",
        "basis = directions[:3] * torch.sign(directions[:3].sum(dim=1, keepdim=True) + 1e-12)",
        "basis = directions[:3]",
        (_MODEL + "test_the_colours_of_features_stay_put",),
        quick=True,
    ),
    # --- views and masks
    Mutant(
        "an undistorted click has rows and columns swapped",
        "scenes/views.py",
        "return Click(float(column) + 0.5, float(row) + 0.5, click.negative)",
        "return Click(float(row) + 0.5, float(column) + 0.5, click.negative)",
        ("unit/test_views.py::test_a_click_on_the_photo_is_where_the_undistorted_view_shows_it",),
        quick=True,
    ),
    Mutant(
        "what a lens cuts off has a segment",
        "masks/photo_pixels.py",
        "found[:, self.outside] = UNASSIGNED",
        "found[:, self.outside] = 1",
        ("unit/test_views.py::test_what_a_lens_cuts_off_has_no_segment_and_takes_no_click",),
        quick=True,
    ),
    Mutant(
        "label maps are resized by corners",
        "masks/levels.py",
        "interpolation=cv2.INTER_NEAREST_EXACT",
        "interpolation=cv2.INTER_NEAREST",
        ("unit/test_masks_levels.py::test_resizing_keeps_pixel_centres_and_all_sixteen_bits",),
    ),
    Mutant(
        "the smallest segment is the coarse one",
        "masks/levels.py",
        "orders = [np.lexsort([*better, area]), np.lexsort([*better, -area])]",
        "orders = [np.lexsort([*better, -area]), np.lexsort([*better, area])]",
        ("unit/test_masks_levels.py::test_nested_segments_give_the_outer_to_coarse_and_the_inner_to_fine",),
    ),
    Mutant(
        "the mask cache ignores the generator's settings",
        "masks/extract.py",
        "for name, value in segmenter.fingerprint().items()}",
        "for name, value in {}.items()}",
        ("unit/test_masks_stage.py::test_a_changed_setting_is_named",),
    ),
    Mutant(
        "an altered file of the mask cache is believed",
        "masks/cache.py",
        "if digest != _digest(content):",
        "if False:",
        ("unit/test_masks_cache.py::test_damaged_files_are_noticed",),
        quick=True,
    ),
    # --- evaluation
    Mutant(
        "the reference view is scored, too",
        "evaluate/label_maps.py",
        "scored = tuple(i for i in self.labelled_views if sizes[i][label] >= min_pixels)",
        "scored = tuple(i for i in sizes if sizes[i][label] >= min_pixels)",
        ("unit/test_evaluate_datasets.py::test_label_maps_show_an_object_where_it_is_largest_in_training",),
        quick=True,
    ),
    Mutant(
        "IoU is measured over the truth alone",
        "evaluate/metrics.py",
        "union = np.count_nonzero(predicted | truth)",
        "union = np.count_nonzero(truth)",
        ("unit/test_evaluate_metrics.py::test_iou_and_accuracy_of_overlapping_rectangles",),
        quick=True,
    ),
    Mutant(
        "a segment is matched to several objects",
        "evaluate/metrics.py",
        "    matched[rows] = ious[rows, columns]\n",
        "    matched = ious.max(axis=1)\n",
        ("unit/test_evaluate_metrics.py::test_matching_is_one_to_one_and_best_in_sum",),
        quick=True,
    ),
    Mutant(
        "the simulated user clicks the smaller error",
        "evaluate/clicks.py",
        "negative = int(surplus.sum()) > int(missing.sum())",
        "negative = int(surplus.sum()) < int(missing.sum())",
        ("unit/test_evaluate_clicks.py::test_next_click_takes_the_larger_error",),
        quick=True,
    ),
    # --- clusters of segments, and the tree over them
    Mutant(
        "two views bear out any group of segments",
        "clusters/from_segments.py",
        "return (having >= _LEAST_VIEWS) & (having >= _LEAST_SUPPORT * seeing)",
        "return having >= _LEAST_VIEWS",
        ("unit/test_clusters_from_segments.py::test_few_views_do_not_bear_a_group_out",),
        quick=True,
    ),
    Mutant(
        "every view counts as seeing a cluster well",
        "clusters/homes.py",
        "seen &= in_views >= least_sight * in_views.amax(dim=0, keepdim=True)",
        "seen &= in_views >= 0.0 * least_sight",
        ("unit/test_clusters.py::test_what_is_seen_through_an_edge_does_not_part_two_sides",),
    ),
    Mutant(
        "clusters join by their farthest parts",
        "clusters/tree.py",
        'linkage(squareform(distances, checks=False), "average")',
        'linkage(squareform(distances, checks=False), "complete")',
        (_TREE + "test_joins_are_average_linkage",),
        quick=True,
    ),
    Mutant(
        "a part belongs to the object that holds least of it",
        "clusters/tree.py",
        "return counts.argmax(dim=1).numpy()",
        "return counts.argmin(dim=1).numpy()",
        (_TREE + "test_a_part_belongs_to_the_object_that_holds_most_of_it",),
        quick=True,
    ),
    Mutant(
        "a cut holds clusters above and below it",
        "selection/tree.py",
        "and (parent < 0 or self._granularity[parent] > at_most)",
        "",
        (_TREE + "test_a_cut_holds_every_gaussian_once",),
    ),
    Mutant(
        "a click's path goes to objects that it does not hit",
        "selection/tree.py",
        "found += same_level if leads_on else same_level[:1]",
        "found += same_level",
        (_TREE + "test_a_join_that_leads_elsewhere_is_left_out",),
    ),
    Mutant(
        "wider is narrower",
        "selection/tree.py",
        "place_of_level(path, level) + self.steps",
        "place_of_level(path, level) - self.steps",
        (_TREE + "test_wider_and_narrower_are_steps_from_the_levels_cluster",),
    ),
    Mutant(
        "what a merged segment holds is told by its largest cluster alone",
        "clusters/agreed_labels.py",
        "found[k] = lies_on[k, np.argmax(sums)]",
        "found[k] = lies_on[k, 0]",
        (_AGREED + "test_labels_are_clusters",),
    ),
    Mutant(
        "a segment lies on every cluster that it touches",
        "clusters/agreed_labels.py",
        "is_on = largest >= _LEAST_SHARE",
        "is_on = largest >= 0.0",
        (_AGREED + "test_labels_are_clusters",),
    ),
    Mutant(
        "a segment on no cluster is the first one's",
        "clusters/agreed_labels.py",
        "is_on[:, :1] = largest[:, :1] > 0",
        "is_on[:, :1] = True",
        (_AGREED + "test_labels_are_clusters",),
    ),
    # --- lists of tiles
    Mutant(
        "a leaning Gaussian is listed where it is not",
        "raster/cpu.py",
        "right_y, left_y = min(max(widest, low), high), min(max(-widest, low), high)",
        "right_y, left_y = min(max(-widest, low), high), min(max(widest, low), high)",
        ("parity/test_tile_lists.py::test_pictures_are_those_of_whole_boxes",),
        in_kernels=True,
    ),
    # --- held-out views
    Mutant(
        "steps see held-out views",
        "method/datamanager.py",
        "views = self.learned_views",
        "views = list(range(len(self.train_dataset)))",
        (_DATA + "test_no_step_sees_a_view_that_is_held_out",),
    ),
    Mutant(
        "training never ends before its last step",
        "method/held_out.py",
        "self._looks_since += 1",
        "self._looks_since += 0",
        (_HELD_OUT + "test_training_stops_when_two_looks_gained_nothing",),
    ),
    Mutant(
        "features that training spoiled are kept",
        "method/held_out.py",
        "if gains or (self._has_gained and agreement >= self.best - _LEAST_GAIN):",
        "if True:",
        (_HELD_OUT + "test_features_that_agree_less_are_not_kept",),
    ),
    Mutant(
        "pixels without a segment count as one",
        "method/held_out.py",
        "& (np.arange(len(sizes)) != UNASSIGNED))",
        ")",
        (_HELD_OUT + "test_agreement_is_the_mean_iou_of_matched_segments",),
    ),
    # --- kernels
    Mutant(
        "segments repel themselves",
        "features/kernels.py",
        "if groups[other] == groups[b]:",
        "if groups[other] == groups[b] + 1:",
        (_LOSSES + "test_negative_term_at_the_edges_of_blocks",),
        in_kernels=True,
    ),
    Mutant(
        "the last Gaussian of a chunk has no norm term",
        "features/gaussian_kernel.py",
        "first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK)",
        "first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK - 1)",
        ("parity/test_fused_objective.py::test_one_pass_equals_the_sum_of_the_terms",),
        in_kernels=True,
    ),
    Mutant(
        "clusters of a tile that is not full are left out",
        "features/gaussian_kernel.py",
        "num_tiles = (num_clusters + COLUMNS - 1) // COLUMNS",
        "num_tiles = max(num_clusters // COLUMNS, 1)",
        ("parity/test_fused_objective.py::test_one_pass_equals_the_sum_of_the_terms",),
        in_kernels=True,
    ),
)
