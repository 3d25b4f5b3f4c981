"""Where engines lie."""

from pathlib import Path

from bundle.folders import engine_folder


def test_engines_lie_below_the_xdg_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_folder() == tmp_path / "edge-emotion" / "engines"
    for relative_or_unset in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative_or_unset)
        assert engine_folder() == Path.home() / ".cache" / "edge-emotion" / "engines"
