"""Plugins that the real program finds beside those of the test run."""


def installed(site, name, text):
    """A folder for the path of Python in which a distribution with one plugin is installed."""
    info = site / f"strange_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"strange_{name}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strange-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[proxy_core.plugins]\n{name} = strange_{name}\n")
