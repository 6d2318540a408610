"""From plain photos or a video to photos with camera poses: a COLMAP model, made with pycolmap."""
