"""Whole videos of the object store into tracks and forecasts: `pathcast pipeline run batch_inference`."""

from kfp import dsl

from components.analyse_video.component import analyse_video
from components.find_videos.component import find_videos
from components.report_batch.component import report_batch
from pipelines.cluster import on_cluster

AT_A_TIME = 4
"""Videos worked on at the same time; all share one Triton."""


@dsl.pipeline(name="batch-inference", description="Detect, track and forecast in whole videos of the object store.")
def batch_inference(
    sources: list,  # type: ignore[type-arg]
    output: str,
    detector: str = "detector",
    fps: float = 0.0,
    annotate: bool = True,
) -> dict:  # type: ignore[type-arg]
    """`sources` are videos or folders, `output` where the results go, all `s3://BUCKET/KEY`."""
    videos = on_cluster(find_videos(sources=sources))
    with dsl.ParallelFor(videos.output, name="each-video", parallelism=AT_A_TIME) as video:
        done = on_cluster(analyse_video(video=video, output=output, detector=detector, fps=fps, annotate=annotate))
    return on_cluster(report_batch(reports=dsl.Collected(done.outputs["Output"]))).outputs["Output"]
