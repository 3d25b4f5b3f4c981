"""Where chunks come from: camera, microphone, replayed files."""
