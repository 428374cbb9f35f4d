"""What files say is no command to the terminal."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from one_net import nets, operator

from graphc.cli.app import graphc


def test_check_shows_names_without_escape_sequences(tmp_path: Path) -> None:
    net = tmp_path / "net.pb"
    net.write_bytes(nets([operator("NoSuch", "x", "\x1b[31my")], {}, "\x1b[31my", {})[0])
    told = CliRunner().invoke(graphc, ["check", str(net)], color=True)
    assert told.exit_code == 1
    assert "NoSuch" in told.output
    assert "\x1b" not in told.output
