"""The terms of the objective: a file each, listed here."""

from click_gaussian_ns.features.terms.contrastive import NEGATIVE, POSITIVE
from click_gaussian_ns.features.terms.guidance import GUIDANCE
from click_gaussian_ns.features.terms.norm_2d import NORM_2D
from click_gaussian_ns.features.terms.norm_3d import NORM_3D
from click_gaussian_ns.features.terms.spatial import SPATIAL
from click_gaussian_ns.features.terms.term import Term

TERMS: tuple[Term, ...] = (POSITIVE, NEGATIVE, NORM_2D, NORM_3D, SPATIAL, GUIDANCE)
"""In the order in which they are logged."""
