from tests.support.yolox import real_frames, yolox_path

__all__ = ["real_frames", "yolox_path"]
