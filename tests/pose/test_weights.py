import hashlib
import re
from pathlib import Path

import pytest

from gaitreid.pose import weights
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.weights import KNOWN, Weight

EMBEDDED = [w for w in KNOWN.values() if w.embedded]
ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
PUBLISHED = [w for w in KNOWN.values() if not w.embedded]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own caches is seen; the folder of weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("GAITREID_WEIGHTS", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder


def a_weight(content: bytes, digits: int = 64) -> Weight:
    sha256 = hashlib.sha256(content).hexdigest()[:digits]
    return Weight("toy", "tests", "toy.pth", "https://example.org/toy.pth", "MIT", "nothing", sha256)


@pytest.mark.parametrize("known", EMBEDDED, ids=lambda w: w.name)
def test_what_packages_carry_is_there_and_is_what_it_was(known: Weight) -> None:
    path = weights.required(known)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256
    assert path.stat().st_size / 2**20 == pytest.approx(known.size, abs=0.01)


def test_everything_that_ships_is_known() -> None:
    files = [file for part in ("pose", "reid") for file in (ROOT / part).rglob("*.safetensors")]
    shipped = {str(file.relative_to(ROOT)): file for file in files}
    assert shipped
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in shipped.items()}
    assert hashes == {w.file: w.sha256 for w in EMBEDDED if w.source == "gaitreid"}


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda w: w.name)
def test_what_is_published_names_its_address_licence_and_hash(known: Weight) -> None:
    assert known.source.startswith("https://")
    assert known.licence
    assert known.data
    assert known.source.rpartition("/")[2].rpartition(".")[0] == known.file.rpartition(".")[0]
    if known.hash_kind != "unknown":
        (in_name,) = re.findall(r"-([0-9a-f]{8})[._]", known.file)
        assert known.sha256.startswith(in_name)


@pytest.mark.parametrize("known", KNOWN.values(), ids=lambda w: w.name)
def test_the_table_of_the_docs_says_the_same(known: Weight) -> None:
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{known.name}` |")]
    assert all(f" {fact}" in row for fact in (known.use.split()[-1], known.licence, known.data, known.source))
    assert f"`{known.sha256}`" in row or f"`{known.sha256}...`" in row or known.hash_kind == "unknown"


def test_torchvision_says_the_same() -> None:
    from torchvision.models import get_model_weights

    ours = [w for w in PUBLISHED if w.source.startswith(weights.TORCHVISION)]
    assert len(ours) >= 4
    for known in ours:
        (theirs,) = [w for w in get_model_weights(known.name) if w.name == "COCO_V1"]
        assert (known.source, known.size) == (theirs.url, theirs.meta["_file_size"])


def test_the_zoos_say_the_same() -> None:
    ours = [w for w in PUBLISHED if w.use.partition(" ")[2].startswith(("mmpose", "rtmdet"))]
    assert len(ours) >= 8
    for known in ours:
        theirs = weights._zoo(known.name)
        assert theirs is not None
        assert (known.source, known.sha256, known.file) == (theirs.source, theirs.sha256, theirs.file)


def test_any_model_of_the_zoos_is_known_by_its_configuration() -> None:
    found = weights.weight("td-hm_hrnet-w48_8xb32-210e_coco-256x192")
    assert found.sha256 == "0e67c616"
    assert found.use == "--pose mmpose:td-hm_hrnet-w48_8xb32-210e_coco-256x192"
    assert weights.weight("motionbert_dstformer-243frm_8xb32-240e_h36m").data == weights.HUMAN36M
    with pytest.raises(UsageError, match=r"did you mean .*rtmpose-m_8xb256-420e_coco-256x192"):
        weights.weight("rtmpose-m_8xb256-420e_coco-256x129")


@pytest.mark.parametrize("digits", [64, 8])
def test_weights_are_found_where_they_are_kept_and_checked(kept: Path, digits: int) -> None:
    known = a_weight(b"right", digits)
    with pytest.raises(UsageError, match="not on this machine: run `gaitreid doctor --download toy`"):
        weights.required(known)
    (kept / "toy.pth").write_bytes(b"right")
    assert weights.required(known) == kept / "toy.pth"
    (kept / "toy.pth").write_bytes(b"wrong!")
    with pytest.raises(FormatError, match=r"toy\.pth: its SHA-256 is .* delete it and run"):
        weights.required(known)


def test_torch_hubs_cache_is_looked_at_too(kept: Path) -> None:
    hub = kept.parent / "torch/hub/checkpoints"
    hub.mkdir(parents=True)
    (hub / "toy.pth").write_bytes(b"right")
    assert weights.required(a_weight(b"right")) == hub / "toy.pth"


def test_a_checkpoint_is_a_path_or_a_known_name(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = a_weight(b"right")
    monkeypatch.setitem(KNOWN, "toy", known)
    mine = kept.parent / "mine.pth"
    mine.write_bytes(b"anything")
    assert weights.resolve(str(mine)) == mine
    (kept / "toy.pth").write_bytes(b"right")
    assert weights.resolve("toy") == kept / "toy.pth"
    with pytest.raises(UsageError, match=r"absent\.pth: no such file"):
        weights.resolve("absent.pth")
    with pytest.raises(UsageError, match="unknown weights 'keypointrcn': did you mean keypointrcnn"):
        weights.resolve("keypointrcn")


def test_a_file_that_bears_a_known_name_must_have_its_hash(kept: Path) -> None:
    fake = kept.parent / KNOWN["keypointrcnn_resnet50_fpn"].file
    fake.write_bytes(b"something else")
    with pytest.raises(FormatError, match="--download keypointrcnn_resnet50_fpn"):
        weights.resolve(str(fake))


def test_what_has_no_known_hash_says_how_to_get_it(kept: Path) -> None:
    with pytest.raises(UsageError, match=r"no SHA-256 of https://.* is published: fetch it yourself") as error:
        weights.resolve("rtmlib-rtmpose-m")
    assert str(kept) in str(error.value)
    assert "doctor" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00", b"abc"])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pth"
    file.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged\.pth: cannot be read as a checkpoint: \w"):
        weights.load_checkpoint(file)
