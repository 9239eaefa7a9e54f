"""Configuration: YAML names choices and numbers, frozen dataclasses own defaults and checks.

A file may build on another by `_base_: other.yaml`; `--set a.b=c` overrides single values. Files are data and are never run.
"""

import difflib
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from gaitreid.pipeline import yaml_file
from gaitreid.pipeline.disk import DiskConfig
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pipeline.logs import LogsConfig
from gaitreid.pipeline.synth import SynthConfig
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.lift import LiftConfig, LifterConfig
from gaitreid.pose.silhouettes import SilhouetteRcnnConfig
from gaitreid.reid.config import (
    CageConfig,
    EncodeConfig,
    GaitGlConfig,
    GaitTakeConfig,
    GeiConfig,
    LdaConfig,
    MatchConfig,
    PackConfig,
    RecogniseConfig,
    SkeletonConfig,
    SupervisedConfig,
    TrainConfig,
    WalksConfig,
)
from gaitreid.reid.windows import SplitConfig

DEEPEST = 10  # files that build on one another
LARGEST = 2**63  # of a number
SHOWN = 80  # letters of a value in a message


@dataclass(frozen=True)
class Config:
    """All settings, a section a stage.

    Attributes:
        seed: of everything that draws random numbers.
        device: auto, cpu, cuda or cuda:N.
    """

    seed: int = 0
    device: str = "auto"
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    lift: LiftConfig = field(default_factory=LiftConfig)
    lifter: LifterConfig = field(default_factory=LifterConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    cage: CageConfig = field(default_factory=CageConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    lda: LdaConfig = field(default_factory=LdaConfig)
    silhouette_rcnn: SilhouetteRcnnConfig = field(default_factory=SilhouetteRcnnConfig)
    gaitgl: GaitGlConfig = field(default_factory=GaitGlConfig)
    gaittake: GaitTakeConfig = field(default_factory=GaitTakeConfig)
    gei: GeiConfig = field(default_factory=GeiConfig)
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    walks: WalksConfig = field(default_factory=WalksConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    recognise: RecogniseConfig = field(default_factory=RecogniseConfig)
    synth: SynthConfig = field(default_factory=SynthConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    logs: LogsConfig = field(default_factory=LogsConfig)
    disk: DiskConfig = field(default_factory=DiskConfig)

    def __post_init__(self) -> None:
        """Check what is in no section."""
        if self.seed < 0:
            raise UsageError(f"configuration: seed is {self.seed}, expected 0 or more")
        if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,4})?", self.device):
            raise UsageError(f"configuration: device is {_brief(self.device)}, expected auto, cpu, cuda or cuda:N")


def load(path: Path | None = None, overrides: Iterable[str] = (), named: Mapping[str, Any] | None = None) -> Config:
    """The defaults, a YAML file over them, `key.sub=value` texts over that, and values by `key.sub` over all.

    `path` may also be the name of a shipped configuration, such as `tiny`. What is `named` never goes through YAML, which has no
    words for some names of files.

    Raises:
        UsageError: the file cannot be read, a key is unknown or a value has the wrong type.
    """
    values = _read(_find(path), ()) if path else {}
    for stage in ("extract", "lift"):
        if isinstance(given := values.get(stage), Mapping) and given.get("trust_config", False) is not False:
            raise UsageError(f"configuration {path}: {stage}.trust_config: only --trust-config, not a file, says what may be run")
    for text in overrides:
        _merge(values, _parse(text))
    for key, value in (named or {}).items():
        _merge(values, _nested(key, value))
    config: Config = build(Config, values, "")
    return config


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values for JSON and YAML; tuples become lists."""
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_listed(asdict(config))))
    return plain


def shipped() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    folder = Path(str(resources.files("gaitreid") / "configs"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def build(cls: type[Any], values: object, where: str) -> Any:
    """A configuration dataclass from a mapping, every key and type checked.

    Args:
        where: dotted place of the mapping, for messages.

    Raises:
        UsageError: a key is unknown (the nearest one is named) or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"configuration: {where or 'the file'} must hold keys and values, got {_brief(values)}")
    known = [f.name for f in fields(cls)]
    hints = get_type_hints(cls)
    for key in values:
        if key not in known:
            name = _brief(key).strip("'")
            near = " or ".join(f"'{_dotted(where, place)}'" for place in _spelled_like(name, hints))
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"configuration: unknown key '{_dotted(where, name)}': {hint}")
    return cls(**{key: _convert(value, hints[key], _dotted(where, key)) for key, value in values.items()})


def _spelled_like(name: str, hints: Mapping[str, Any]) -> list[str]:
    """Where the key is that is spelled most like this, be it in a section: `lenght` is split.length."""
    places = {key: key for key in hints}
    places |= {f"{section}.{f.name}": f.name for section, kind in hints.items() if is_dataclass(kind) for f in fields(kind)}
    near = difflib.get_close_matches(name, sorted(set(places.values())), 1)
    return [place for place, key in places.items() if key in near]


def _find(path: Path) -> Path:
    if not path.is_file() and str(path) in shipped():  # a folder may well be called demo
        return shipped()[str(path)]
    return path


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    if path.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"configuration {path}: must be a YAML file (or one of {', '.join(shipped())})")
    if path.resolve() in chain:
        raise UsageError(f"configuration {path}: is its own _base_")
    if len(chain) > DEEPEST:
        raise UsageError(f"configuration {path}: is the _base_ of a _base_ more than {DEEPEST} times")
    try:
        values = yaml_file.read(path) or {}
    except FormatError as error:
        raise UsageError(f"configuration {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"configuration {path}: must hold keys and values")
    base = values.pop("_base_", None)
    if base and (not isinstance(base, str) or "\0" in base or Path(base).is_absolute()):
        raise UsageError(f"configuration {path}: _base_ is {_brief(base)}, expected a path from the file's own folder")
    result = _read(path.parent / str(base), (*chain, path.resolve())) if base else {}
    _merge(result, values)
    return result


def _parse(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: expected key=value, such as split.length=20")
    try:
        return _nested(key, yaml_file.parse(value, f"--set {key}"))
    except FormatError as error:
        raise UsageError(str(error)) from error


def named(overrides: Iterable[str]) -> list[str]:
    """Names of the settings in `key=value` texts, with dots: of `match={top: 3}`, too, match.top.

    Raises:
        UsageError: one of them is no such text.
    """
    return [name for text in overrides for name in _names_in(_parse(text))]


def _names_in(values: Mapping[str, Any], where: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = _dotted(where, key)
        if isinstance(value, Mapping) and value:
            yield from _names_in(value, name)
        else:
            yield name


def _nested(key: str, value: Any) -> dict[str, Any]:
    first, dot, rest = key.partition(".")
    return {first: _nested(rest, value) if dot else value}


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _convert(value: object, hint: Any, where: str) -> object:
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        return _convert(value, next(a for a in get_args(hint) if a is not type(None)), where)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UsageError(f"configuration: {where} is {_brief(value)}, expected one of {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(item, get_args(hint)[0], f"{where}[{i}]") for i, item in enumerate(items))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not abs(value) < LARGEST:  # type: ignore[arg-type]
        raise UsageError(f"configuration: {where} is {_brief(value)}, expected a number below {LARGEST:g}")
    if hint is float and number:
        return float(value)  # type: ignore[arg-type]
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"configuration: {where} is {_brief(value)}, expected {_NAMES.get(hint, hint)}")
    return value


def _brief(value: object) -> str:
    """A value in a message: one from a file can be of any size."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
