"""Video sources: cameras, files, streams, folders of images and pipes, as frames with times."""

from fer_edge.video.source import Source, SourceState, VideoFrame, open_source

__all__ = ["Source", "SourceState", "VideoFrame", "open_source"]
