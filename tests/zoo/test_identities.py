"""What is known of the zoo's files."""

from __future__ import annotations

import json
import re
from pathlib import Path

from graphc.zoo import identify, identities


def test_the_list() -> None:
    files = [identity for model in identities().values() for identity in model.values()]
    assert len(files) == 173
    assert all(re.fullmatch("[0-9a-f]{64}", f.sha256) and f.size > 0 for f in files)
    assert identities()["vgg19"]["init_net.pb"].size == 718_338_501


def test_the_pointers_of_the_repository(shared: Path) -> None:
    want = {path: (size, digest) for path, size, digest in json.loads((shared / "zoo_sha256.json").read_text())}
    found = {f"{m}/{n}": (f.size, f.sha256) for m, files in identities().items() for n, f in files.items()}
    assert found == want


def test_recognising_a_file(shared: Path, tmp_path: Path) -> None:
    assert identify(shared / "models" / "squeezenet_v1.1" / "predict_net.pb") == ["squeezenet/predict_net.pb"]
    (tmp_path / "zeros").write_bytes(bytes(6175))  # of the right size only
    assert identify(tmp_path / "zeros") == []
