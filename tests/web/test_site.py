"""Files of the page, the folder that they are written to, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from fer_edge._files import sha256
from fer_edge.bundle import Bundle
from fer_edge.errors import BundleDamagedError, ConfigError, FerEdgeError
from fer_edge.shipped import shipped_bundle
from fer_edge.web import make_site, write_site
from fer_edge.web.server import SiteServer
from tests.command import fer_edge as command
from tests.tiny import tiny_bundle

PAGE = {
    "index.html": b"<!doctype html>",
    "page/web.js": b"1",
    "site.json": b'{"files": {"index.html": {}, "page/web.js": {}}}',
}
IMPORT = re.compile(r'^(?:import|export) .*?"(\.[^"]+)";', re.M | re.S)


def test_page_has_everything_that_it_loads(site_files: dict[str, bytes]) -> None:
    site = json.loads(site_files["site.json"])
    assert {*site["files"], "site.json"} == set(site_files) and set(site["load"]) == {
        "bundle", "runtime", "detector", "mesh",
    }  # fmt: skip
    for name, entry in site["files"].items():
        assert entry == {"sha256": sha256(site_files[name]), "size": len(site_files[name])}
    assert site_files[site["load"]["bundle"]] == shipped_bundle().read_bytes()
    for name, data in site_files.items():
        if name.endswith(".js") and not name.startswith("onnxruntime-web/"):
            for target in IMPORT.findall(data.decode()):
                assert (Path("/") / name).parent.joinpath(target).resolve().relative_to("/").as_posix() in site_files
    links = re.findall(r'(?:href|src)="([^"]+)"', site_files["index.html"].decode())
    assert set(links) - {"data:,"} <= set(site_files)


def test_page_names_no_other_host(site_files: dict[str, bytes]) -> None:
    for name, data in site_files.items():
        if name.startswith(("page/", "index")):
            assert not re.search(rb"https?://(?!127\.0\.0\.1|localhost)[a-z]", data), name


def test_licences_of_all_parts_are_in_the_page(site_files: dict[str, bytes]) -> None:
    text = site_files["licences.txt"].decode()
    assert (
        "Apache License" in text and "Microsoft Corporation" in text and text.count("Permission is hereby granted") == 2
    )


def test_damaged_bundle_is_refused(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny.fer")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleDamagedError):
        make_site(path)


def test_page_replaces_an_earlier_page(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert write_site(PAGE, site) == site
    later = {**PAGE, "index.html": b"later"}
    del later["page/web.js"]
    write_site(later, site)
    assert {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()} == set(later)
    assert (site / "index.html").read_bytes() == b"later" and list(tmp_path.iterdir()) == [site]


def test_folder_with_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    write_site(PAGE, site)
    (site / "CNAME").write_text("example")
    with pytest.raises(ConfigError, match=r"the output .*site has files that are not of a page, such as CNAME; name"):
        write_site(PAGE, site)
    assert (site / "CNAME").exists()
    with pytest.raises(ConfigError, match=r"CNAME is a file; name a folder"):
        write_site(PAGE, site / "CNAME")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"the output \. is the working folder or contains it; name a new folder"):
        write_site(PAGE, ".")


def test_failed_write_leaves_the_earlier_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    write_site(PAGE, site)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FerEdgeError, match=r"cannot write .*site: No space left on device; nothing was changed"):
        write_site({**PAGE, "index.html": b"later"}, site)
    assert (site / "index.html").read_bytes() == PAGE["index.html"] and list(tmp_path.iterdir()) == [site]


def test_server_has_the_page_for_this_machine_only() -> None:
    server = SiteServer(PAGE)
    url = server.open()
    try:
        answer = httpx.get(url)
        assert answer.content == PAGE["index.html"] and answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        script = httpx.get(f"{url}page/web.js").headers
        assert script["content-type"].startswith("text/javascript")
        assert script["content-security-policy"] == "connect-src 'none'"
        assert httpx.get(f"{url}page/..%2f..%2fetc/passwd").status_code == 404
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 403
    finally:
        server.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do; name a folder with --out, or add --serve"),
        (["-o", "site", "--port", "80"], "--port applies only to the server; add --serve, or leave out --port"),
        (["none", "-o", "site"], "no bundle at none; expected a file, or one that is shipped: edge"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], message: str) -> None:
    result = command("web", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_command_writes_a_page(site_files: dict[str, bytes], tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "my model #1.fer")
    result = command("web", bundle, "-o", tmp_path / "site")
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(rf"wrote .*site: {len(site_files)} files, \d+\.\d MB\n", result.stdout)
    Bundle.open(tmp_path / "site" / "models" / "model.fer")
