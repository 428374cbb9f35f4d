"""Downloads from servers that are good, cut off, hold other files, answer in HTML, or do not answer."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graphc.caffe2.models import download
from graphc.cli.models import models
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import FileError
from graphc.zoo import Identity, download_model, fetch, identities
from graphc.zoo import download as module

INIT = write_net(Net("init", [Operator("ConstantFill", [], [f"w{i}"], {"shape": (2,)}) for i in range(3000)]))
PREDICT = write_net(Net("predict", [Operator("Relu", ["w0"], ["y"])]))
PAGE = b"<!DOCTYPE html><html><body>please log in</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
FILES = {
    "/net/init_net.pb": INIT,
    "/net/predict_net.pb": PREDICT,
    "/page/init_net.pb": PAGE,
    "/lfs/init_net.pb": POINTER,
}
NAMES = {"init_net.pb": INIT, "predict_net.pb": PREDICT}


class Server:
    """A web server whose answers break off after ``cut`` bytes each; notes what was asked for."""

    def __init__(self) -> None:
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append((request.path, asked))
        data = FILES.get(request.path)
        if data is None:
            request.send_error(404)
            return
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start : None if self.cut is None else start + self.cut])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo has one model, whose files are the server's."""
    known = {name: Identity(len(data), hashlib.sha256(data).hexdigest()) for name, data in NAMES.items()}
    monkeypatch.setattr(module, "identities", lambda: {"net": known})
    monkeypatch.delenv("GRAPHC_MODEL_MIRRORS", raising=False)


def identity(data: bytes) -> Identity:
    return Identity(len(data), hashlib.sha256(data).hexdigest())


def test_a_good_server(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = download_model(
        "net", tmp_path, sources=[server.url + "/"], progress=lambda file: lambda *now: seen.append(now)
    )
    assert {p.name: p.read_bytes() for p in found.iterdir()} == NAMES
    assert {(len(INIT), len(INIT)), (len(PREDICT), len(PREDICT))} <= set(seen)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    with pytest.raises(FileError, match="exists already"):
        download_model("net", tmp_path, sources=[server.url + "/"])
    (found / "predict_net.pb").write_bytes(b"")
    (found / "mine.txt").write_bytes(b"")
    download_model("net", tmp_path, sources=[server.url + "/"], force=True)
    assert {p.name: p.read_bytes() for p in found.iterdir()} == NAMES
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_a_cut_transfer_continues(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "init_net.pb"
    server.cut = len(INIT) // 8
    with pytest.raises(FileError, match=rf"broke off after [\d,]+ of {len(INIT):,} bytes"):
        fetch([server.url + "/net/init_net.pb"], target, identity(INIT))
    assert not target.exists()
    here = len(INIT) // 8 * 3  # three attempts
    assert (tmp_path / "init_net.pb.part").read_bytes() == INIT[:here]
    server.cut = None
    fetch([server.url + "/net/init_net.pb"], target, identity(INIT))
    assert target.read_bytes() == INIT
    assert [asked for _, asked in server.asked] == [None, *(f"bytes={here // 3 * k}-" for k in (1, 2, 3))]
    assert not (tmp_path / "init_net.pb.part").exists()


def test_continuing_without_ranges_or_with_rubbish(server: Server, tmp_path: Path) -> None:
    target, part = tmp_path / "init_net.pb", tmp_path / "init_net.pb.part"
    url = server.url + "/net/init_net.pb"
    server.ranges = False
    part.write_bytes(INIT[:1000])
    fetch([url], target, identity(INIT))
    assert target.read_bytes() == INIT
    server.ranges = True
    for left in (b"x" * 1000, b"x" * len(INIT), b"x" * (len(INIT) + 5)):
        part.write_bytes(left)
        fetch([url], target, identity(INIT))
        assert target.read_bytes() == INIT
    part.write_bytes(b"x" * (len(INIT) + 5))  # what nobody knows is not continued
    fetch([url], target)
    assert target.read_bytes() == INIT


@pytest.mark.parametrize(
    ("path", "known", "said"),
    [
        ("/page/init_net.pb", None, r"it sent a web page \(HTML\)"),
        ("/page/init_net.pb", INIT, r"it sent a web page \(HTML\)"),
        ("/lfs/init_net.pb", INIT, "it sent a Git LFS pointer"),
        ("/net/init_net.pb", PREDICT, f"it sent {len(INIT):,} bytes, the zoo's file has {len(PREDICT):,}"),
        ("/net/init_net.pb", INIT[:-1] + b"x", "it sent another file: SHA-256"),
        ("/nowhere/init_net.pb", None, "HTTP 404"),
    ],
)
def test_wrong_files(server: Server, tmp_path: Path, path: str, known: bytes | None, said: str) -> None:
    target = tmp_path / "init_net.pb"
    target.write_bytes(b"what was there")
    with pytest.raises(FileError, match=said) as caught:
        fetch([server.url + path], target, identity(known) if known is not None else None)
    assert "name another (--mirror URL" in caught.value.help
    assert target.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["init_net.pb"]


def test_the_next_mirror(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "net"
    folder.mkdir(parents=True)
    for name, data in NAMES.items():
        (folder / name).write_bytes(data)
    closed = "http://127.0.0.1:1/"
    found = download_model("net", tmp_path / "a", sources=[closed, server.url + "/none/", server.url + "/"])
    assert (found / "init_net.pb").read_bytes() == INIT
    local = module.mirrors([str(tmp_path / "mirror")])[0]
    assert (download_model("net", tmp_path / "b", sources=[local]) / "init_net.pb").read_bytes() == INIT


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_MODEL_MIRRORS", "http://127.0.0.1:1 http://127.0.0.1:2/x")
    with pytest.raises(FileError, match="is this machine online") as caught:
        download_model("net", tmp_path)
    assert "http://127.0.0.1:1/net/" in str(caught.value)
    assert "http://127.0.0.1:2/x/net/" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    for name in ("../net", "/net", "net/", "a//b", "__init__", "a b", ""):
        with pytest.raises(FileError, match="is no name of a model"):
            download_model(name, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        download_model("net", tmp_path / "file")


def test_a_model_that_is_not_known(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "identities", dict)
    found = download_model("net", tmp_path, sources=[server.url + "/"])
    assert {p.name for p in found.iterdir()} == set(NAMES)
    with pytest.raises(FileError, match=r"page/init_net\.pb: it sent a web page|page/predict_net\.pb: HTTP 404"):
        download_model("page", tmp_path, sources=[server.url + "/"])


def test_the_command(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("GRAPHC_MODEL_MIRRORS", "http://127.0.0.1:1")
    run = CliRunner().invoke(models, ["download", "-i", "--mirror", server.url, "net"], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    assert (tmp_path / "models" / "net" / "__init__.py").exists()
    assert "no checksums" in run.output  # in the real list there is no model of this name
    with pytest.raises(FileError, match="HTTP 404"):
        CliRunner().invoke(
            models, ["download", "-o", str(tmp_path), "--mirror", server.url, "x"], catch_exceptions=False
        )
    assert CliRunner().invoke(models, ["download", "-i", "-o", str(tmp_path), "x"]).exit_code == 2
    listed = CliRunner().invoke(models, ["list"]).output
    assert "6.19 MB  squeezenet\n" in listed
    assert f"{len(identities())} models of the zoo" in listed
    (tmp_path / "f.pb").write_bytes(PREDICT)
    found = CliRunner().invoke(models, ["identify", str(tmp_path / "f.pb")])
    assert (found.exit_code, found.output) == (1, f"{tmp_path / 'f.pb'}: no file of the zoo\n")


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def test_caffe2s_command(server: Server, tmp_path: Path) -> None:
    """``-i``, and the import that scripts make of it; the exit code of a failure."""
    where = {"GRAPHC_MODELS_DIR": str(tmp_path / "models"), "GRAPHC_MODEL_MIRRORS": server.url}
    (tmp_path / "get.py").write_text(
        "import sys\n"
        "from caffe2.python.models import download\n"
        f"download.DOWNLOAD_BASE_URL = {server.url!r}\n"
        "code = download.main(['-i', 'net'])\n"
        "from caffe2.python.models import net as mynet\n"
        "print(code, mynet.init_net.name, len(mynet.init_net.op), mynet.predict_net.op[0].type)\n"
        "print(download.main(['-i', 'net']), download.main(['-f', '-i', 'net']), download.main(['none']))\n"
        "try:\n"
        "    from caffe2.python.models import none\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "print(download.getURLFromName('a', 'b'), download.validModelName('../a'))\n"
    )
    run = python("graphc.caffe2", "get.py", cwd=tmp_path, **where)
    lines = run.stdout.splitlines()
    assert "0 init 3000 Relu" in lines, run.stderr
    assert "1 0 1" in lines
    assert lines[-2] == "model none is not installed; help: python -m graphc.caffe2.models.download -i none"
    assert lines[-1] == f"{server.url}a/b False"
    assert "Abort: models/net exists already" in run.stderr.replace(str(tmp_path) + "/", "")
    assert "HTTP 404" in run.stderr
    run = python("graphc.caffe2.models.download", "none", cwd=tmp_path, **where)
    assert run.returncode == 1
    assert "Abort:" in run.stderr
    assert not (tmp_path / "none").exists()
    where["GRAPHC_MODEL_MIRRORS"] = str(tmp_path / "nothing")
    run = python("graphc.caffe2.models.download", "--mirror", server.url, "net", cwd=tmp_path, **where)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "net" / "predict_net.pb").exists()


def test_the_downloader(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "DOWNLOAD_BASE_URL", server.url)
    monkeypatch.setenv("CAFFE2_MODELS", str(tmp_path))
    monkeypatch.setitem(FILES, "/net/value_info.json", b'{"data": [1, [1, 3, 2, 2]]}')
    init, predict, info = download.ModelDownloader().get_c2_model("net")
    assert (init.name, predict.name, info) == ("net_init", "net", {"data": [1, [1, 3, 2, 2]]})
    asked = len(server.asked)
    assert download.ModelDownloader("CAFFE2_MODELS").get_c2_model("net")[2] == info
    assert len(server.asked) == asked
    monkeypatch.delitem(FILES, "/net/value_info.json")
    monkeypatch.setenv("CAFFE2_MODELS", str(tmp_path / "other"))
    monkeypatch.setenv("GRAPHC_MODEL_MIRRORS", server.url)
    with pytest.raises(FileError, match=r"value_info\.json could not be downloaded"):
        download.ModelDownloader().get_c2_model("net")
    download.downloadFromURLToFile(server.url + "/net/predict_net.pb", str(tmp_path / "predict_net.pb"))
    assert (tmp_path / "predict_net.pb").read_bytes() == PREDICT
