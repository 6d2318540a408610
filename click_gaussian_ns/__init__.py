"""Click objects and parts in any 3D Gaussian scene: the Click-Gaussian method as a nerfstudio plugin."""
