"""The stages in order: each command first brings what is before it up to date."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.jobs import Summary
from gaitreid.pipeline.lock import writing
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError

if TYPE_CHECKING:
    from gaitreid.pipeline.clips import Recogniser
    from gaitreid.pipeline.evidence import Frames, Manner
    from gaitreid.pipeline.gallery import Book
    from gaitreid.reid.search import Metric


P = ParamSpec("P")
R = TypeVar("R")


def _writes(method: "Callable[Concatenate[Session, P], R]") -> "Callable[Concatenate[Session, P], R]":
    """A command that writes in the work folder is the only one to do so; shards of an extraction may be several."""

    @wraps(method)
    def alone(self: "Session", /, *args: P.args, **options: P.kwargs) -> R:
        with writing(self.work.root, str(options.get("shard") or "")):
            return method(self, *args, **options)

    return alone


@dataclass(frozen=True)
class Session:
    """One work folder, the settings in force, and where to say things.

    Attributes:
        jobs: worker processes.
        scheduler: address of a Dask cluster that extracts and lifts in their place.
    """

    work: Work
    config: Config
    console: Console
    jobs: int = 1
    scheduler: str | None = None

    @_writes
    def extract(
        self,
        videos: Sequence[Path],
        *,
        pattern: str | None = None,
        labels: Path | None = None,
        overwrite: bool = False,
        fail_fast: bool = False,
        shard: str | None = None,
        retry_failed: bool = False,
    ) -> Summary:
        """Videos to tracks in 2D."""
        from gaitreid.pipeline.extract import extract
        from gaitreid.pipeline.labels import Labeller
        from gaitreid.pipeline.plan import check_room

        check_room(self.work, self.config, videos, self.console)
        return extract(
            self.work,
            self.config.extract,
            videos,
            Labeller(pattern, labels),
            self.console,
            jobs=self.jobs,
            device=self.config.device,
            overwrite=overwrite,
            fail_fast=fail_fast,
            limits=self.config.limits,
            scheduler=self.scheduler,
            shard=shard,
            retry_failed=retry_failed,
            room=self.config.disk,
        )

    @_writes
    def lift(self) -> Summary:
        """Tracks in 2D to 3D."""
        from gaitreid.pipeline.lift import lift

        return lift(
            self.work,
            self.config.lift,
            self.console,
            device=self.config.device,
            jobs=self.jobs,
            scheduler=self.scheduler,
            room=self.config.disk,
        )

    @_writes
    def split(self) -> Path:
        """Tracks to windows."""
        from gaitreid.pipeline.split import split

        if self.work.stems("pose2d") or self.work.stems("pose3d") or not self.work.sequences.exists():
            self.lift()
        return split(self.work, self.config.split, self.console)

    @_writes
    def pack(self) -> Path:
        """Tracks to whole walks: silhouettes and keypoints of the same frames."""
        from gaitreid.pipeline.silhouette_rcnn import find
        from gaitreid.pipeline.walks import pack

        if self.config.pack.keypoints == "silhouette":
            find(self.work, self.config, self.console)
        return pack(self.work, self.config.pack, self.console)

    @_writes
    def train(self, name: str | None = None, *, resume: bool = False, overwrite: bool = False) -> Path:
        """Windows to an encoder; or walks in 3D to a lifter, or silhouettes to an estimator of keypoints in them."""
        from gaitreid.pipeline import lifters, silhouette_rcnn, walk_models
        from gaitreid.pipeline.plugins import check, names
        from gaitreid.pipeline.train import train

        model = self.config.train.model
        if model in lifters.LIFTERS:
            return lifters.train(self.work, self.config, name or model, self.console, resume=resume, overwrite=overwrite)
        if model == silhouette_rcnn.MODEL:
            return silhouette_rcnn.train(self.work, self.config, name or model, self.console, resume=resume, overwrite=overwrite)
        if model in names("walk"):
            self.pack()
            return walk_models.train(self.work, self.config, name or model, self.console, resume=resume, overwrite=overwrite)
        check("encoder", model, "walk")
        self.split()
        return train(self.work, self.config, name or model, self.console, resume=resume, overwrite=overwrite)

    @_writes
    def bring_in(
        self,
        format_: str,
        paths: Sequence[Path],
        *,
        pattern: str | None = None,
        labels: Path | None = None,
        fps: float | None = None,
    ) -> Summary:
        """Keypoints of another tool, or skeletons of a data set, into the work folder.

        Args:
            pattern, labels: as of `extract`; data sets of skeletons bring their own.
            fps: of keypoints, over what their files say.

        Raises:
            UsageError: a path does not exist, or the format is unknown or has no use for an option.
        """
        from gaitreid.pipeline import importer, keypoints, official, silhouettes
        from gaitreid.pipeline.labels import Labeller

        for path in paths:
            if not path.exists():
                raise UsageError(f"{path}: no such file or folder")
        if format_ in keypoints.SOURCES:
            labeller = Labeller(pattern, labels)
            return keypoints.bring_in(self.work, self.config.extract, format_, list(paths), labeller, self.console, fps)
        if fps is not None:
            raise UsageError(f"--fps is for keypoints of other tools ({', '.join(keypoints.SOURCES)}): leave it away")
        if format_ == "silhouettes":
            return silhouettes.bring_in(self.work, list(paths), Labeller(pattern, labels), self.console, jobs=self.jobs)
        if pattern or labels:
            raise UsageError(f"format '{format_}' brings its own labels: leave --pattern and --labels away")
        if format_ == "npy":
            official.bring_in(self.work, list(paths), self.console)
            return Summary()
        return importer.bring_in(self.work, format_, list(paths), self.console)

    @_writes
    def encode(self, name: str | None = None, encoder: Path | None = None) -> Path:
        """Windows to vectors, by a model that is trained first where there is none of this name.

        Where none is named and none of the configured kind is trained here, the one that comes with the package is taken, if the
        windows are such as it takes.

        Args:
            encoder: a folder models/NAME of another work folder, which is copied here first.
        """
        from gaitreid.pipeline.encode import encode
        from gaitreid.pipeline.train import is_trained, train

        if self._of_walks(name, encoder):
            return self._encode_walks(name, encoder)
        self.split()
        name = self._model(name, encoder, shipped=True)
        if not is_trained(self.work, name):
            self.console.say(f"train: there is no model '{name}' in {self.work.root} yet")
            train(self.work, self.to_train(name), name, self.console)
        return encode(self.work, self.config, name, self.console)

    @_writes
    def recognise(
        self,
        name: str | None = None,
        *,
        encoder: Path | None = None,
        protocol: str = "",
        train: str = "",
        test: str = "",
        as_published: bool = False,
    ) -> Path:
        """Windows to names of a closed set; the path of the report."""
        from gaitreid.pipeline.recognise import recognise

        if self._of_walks(name, encoder):
            raise UsageError("recognise takes windows, and this model takes whole walks: use `match`, or another model")
        self.split()
        model = self._model(name, encoder)
        return recognise(
            self.work,
            self.to_train(model),
            model,
            self.console,
            protocol=protocol,
            train_on=train,
            test_on=test,
            as_published=as_published,
            adopted=encoder is not None,
        )

    def to_train(self, name: str) -> Config:
        """Settings to train a model of this name: the name of an encoder means that encoder."""
        from gaitreid.pipeline.plugins import names
        from gaitreid.reid.config import TrainConfig

        if name not in {**names("encoder"), **names("walk")} or name == self.config.train.model:
            return self.config
        epochs = TrainConfig().epochs if name in names("walk") else self.config.train.epochs  # they count steps
        return replace(self.config, train=replace(self.config.train, model=name, epochs=epochs))

    def _of_walks(self, name: str | None, encoder: Path | None) -> bool:
        """Whether the model in force takes whole walks."""
        from gaitreid.pipeline.walk_models import is_of_walks

        return is_of_walks(self.work, name, self.config.train.model, encoder)

    def _encode_walks(self, name: str | None, encoder: Path | None) -> Path:
        """Whole walks to vectors, by a model that is trained first where there is none of this name.

        One without weights, such as `gei`, follows the settings in force: it is made again where its options are others.
        """
        from gaitreid.pipeline.train import is_trained
        from gaitreid.pipeline.walk_models import changed_options, encode, train

        self.pack()
        name = self._model(name, encoder)
        if not is_trained(self.work, name):
            self.console.say(f"train: there is no model '{name}' in {self.work.root} yet")
            train(self.work, self.to_train(name), name, self.console)
        elif encoder is None and (changes := changed_options(self.work, self.config, name)):
            self.console.say(f"train: '{name}' is made again by the settings in force: {changes}")
            train(self.work, self.to_train(name), name, self.console)
        return encode(self.work, self.config, name, self.console)

    def _model(self, name: str | None, encoder: Path | None, *, shipped: bool = False) -> str:
        """Name of the model in force; one of another work folder, or that of the package, is copied here first."""
        from gaitreid.pipeline import shipped as package
        from gaitreid.pipeline import store
        from gaitreid.pipeline.encode import adopt
        from gaitreid.pipeline.train import is_trained
        from gaitreid.reid.records import Sequences

        if name is None and encoder is None and shipped and not is_trained(self.work, self.config.train.model):
            sequences = store.read(self.work.sequences, "sequences", Sequences, "/sequences")
            name = package.NAME if package.takes(sequences) else None
        if name == package.NAME and encoder is None:
            encoder = package.folder()
        name = name or (encoder.name if encoder else self.config.train.model)
        if encoder:
            adopt(self.work, encoder, name)
        return name

    def export_tracks(self, format_: str, target: Path, skeleton: str | None) -> Path:
        """Tracks in 2D in the format of another tool."""
        from gaitreid.pipeline.exporter import hand_out

        return hand_out(self.work, format_, target, skeleton, self.console)

    def export_silhouettes(self, target: Path) -> Path:
        """Silhouettes in OpenGait's layout."""
        from gaitreid.pipeline.silhouettes import hand_out

        return hand_out(self.work, target, self.console)

    def export_npy(self, target: Path, dataset: str, train: str, test: str) -> Path:
        """Windows in the official layout of AGE and CAGE."""
        from gaitreid.pipeline.official import hand_out

        self.split()
        return hand_out(self.work, target, dataset, train, test, self.console)

    def export_onnx(self, name: str | None, target: Path | None) -> Path:
        """A trained encoder as ONNX."""
        from gaitreid.pipeline.onnx import export

        return export(self.work, self.config, name or self.config.train.model, target, self.console)

    @_writes
    def match(
        self,
        probe: str = "",
        gallery: str = "",
        name: str | None = None,
        *,
        encoder: Path | None = None,
        protocol: str = "plain",
        training: int | None = None,
        as_published: bool = False,
        frames: "Manner | None" = None,
        fused: Sequence[str] = (),
        asked: Collection[str] = (),
    ) -> Path:
        """Vectors to rankings and a report; the path of the (last) report.

        Args:
            probe, gallery: selectors; with a protocol those of its searches that are meant.
            training: people of CASIA-B who are not tested by lt and cross-view, from the first.
            as_published: of cme and cve: as the released code does it.
            frames: whether the report has stills of the videos, and whether heads in them are blurred.
            fused: other models whose distances are fused in.
            asked: options that were given for settings of `match` and `encode`, be it the default ones, such as `--metric` or
                `--set match.metric`.

        Raises:
            UsageError: as of `check_match`.
        """
        from gaitreid.pipeline.match import by_protocol, cme, match
        from gaitreid.pipeline.searches import PROTOCOLS, TRAINING
        from gaitreid.pipeline.shipped import BESIDE, METRIC, NAME
        from gaitreid.reid.config import MatchConfig

        self.check_match(
            probe,
            gallery,
            name,
            encoder=encoder,
            protocol=protocol,
            training=training,
            as_published=as_published,
            frames=frames,
            fused=fused,
            asked=asked,
        )
        if protocol == "cme":
            return cme(self, name, probe, gallery, as_published=as_published, frames=self._frames(frames))
        if protocol == "cve":
            return self.recognise(name, protocol="cve", as_published=as_published)
        embeddings, config = self.encode(name, encoder), self.config.match
        if not fused and name is None and config.unit == "track" and self._has_silhouettes(embeddings):
            chosen = bool({"--metric", "--set match.metric"} & set(asked)) or config.metric != MatchConfig().metric
            fused, config = BESIDE, config if chosen else replace(config, metric=METRIC)
            self.console.say(f"match: silhouettes count, too ({', '.join(BESIDE)}); --name {NAME} goes by skeletons alone")
        if fused:
            embeddings = self._fused([embeddings, *(self.encode(other) for other in fused)], config.plain)
        stills = self._frames(frames)
        if protocol in PROTOCOLS:
            return by_protocol(
                self.work,
                config,
                embeddings,
                protocol,
                self.console,
                seed=self.config.seed,
                training=TRAINING if training is None else training,
                probe=probe,
                gallery=gallery,
                frames=stills,
            )
        return match(self.work, config, embeddings, probe, gallery, self.console, seed=self.config.seed, frames=stills)

    def check_match(
        self,
        probe: str = "",
        gallery: str = "",
        name: str | None = None,
        *,
        encoder: Path | None = None,
        protocol: str = "plain",
        training: int | None = None,
        as_published: bool = False,
        frames: "Manner | None" = None,
        fused: Sequence[str] = (),
        asked: Collection[str] = (),
    ) -> None:
        """What can be said of the options of `match` before anything is done; arguments as there.

        Raises:
            UsageError: the protocol has no use for one of them, or for a model of whole walks; or there is no such selector.
        """
        from gaitreid.pipeline.searches import check_options
        from gaitreid.reid import select

        given = {
            "--probe": probe,
            "--gallery": gallery,
            "--encoder": encoder,
            "--training": training is not None,
            "--as-published": as_published,
            "--fuse": fused,
            "--frames": frames,
        }
        check_options(protocol, [*(option for option, value in given.items() if value), *asked])
        if protocol in {"plain", "cme"}:  # others name their searches, or files
            select.check(probe)
            select.check(gallery)
        if protocol in {"cme", "cve"} and self._of_walks(name, encoder):
            raise UsageError(f"--protocol {protocol} takes windows, and this model takes whole walks: take lt or cross-view")

    @_writes
    def report(
        self, probe: str, gallery: str, *, protocol: str = "plain", name: str | None = None, frames: "Manner | None" = None
    ) -> Path:
        """The report of a comparison once more, by what the comparison was made by; arguments as of `match`."""
        from gaitreid.pipeline.match import again

        return again(self.work, probe, gallery, self.console, protocol=protocol, name=name, frames=self._frames(frames))

    def _frames(self, manner: "Manner | None") -> "Frames | None":
        from gaitreid.pipeline.evidence import Frames

        return Frames(manner, self.config.limits.bounds) if manner else None

    def enrol(self, gallery: Path | None, person: str, videos: Sequence[Path], name: str | None, encoder: Path | None) -> Summary:
        """Videos of somebody into a gallery."""
        from gaitreid.pipeline import gallery as galleries
        from gaitreid.pipeline.clips import clips

        path = self.gallery(gallery)
        galleries.check_name(person)
        old, summary = galleries.read(path) if path.exists() else None, Summary()
        recogniser = self.recogniser(old, name, encoder)
        if old:
            galleries.check_encoder(old.gallery, recogniser, path)
        found = [c for c in clips(self.work, videos, recogniser, self.console, summary, jobs=self.jobs) if c.people]
        if not found:
            raise EmptyError("gallery: nobody walks long enough in these videos: the lines above say why")
        book = galleries.add(path, person, found, recogniser, self.console)
        one = next(p for p in book.people if p.name == person)
        self.console.say(
            f"gallery: '{person}' has {counted(one.tracks, 'tracks')} of {counted(one.videos, 'videos')}; "
            f"{counted(len(book.people), 'people')} in {path}"
        )
        return summary

    def identify(
        self,
        videos: Sequence[Path],
        gallery: Path | None,
        *,
        name: str | None = None,
        encoder: Path | None = None,
        rate: float,
        out: Path | None = None,
        overlays: bool = False,
        watch: Path | None = None,
        live: str | None = None,
        stop_after: float | None = None,
    ) -> Summary:
        """Who is in these videos, in those that come into a folder, or before a camera."""
        from gaitreid.pipeline import gallery as galleries
        from gaitreid.pipeline.identify import Naming
        from gaitreid.pipeline.watch import follow, identify

        path = self.gallery(gallery)
        book = galleries.read(path)
        recogniser = self.recogniser(book, name, encoder)
        naming = Naming(book, path, recogniser, rate, self.config.match.top)
        if live is not None:
            follow(live, recogniser, naming, self.console)
            return Summary()
        folder = out or self.work.root / "identified"
        with writing(folder):
            return identify(
                self.work,
                videos,
                recogniser,
                naming,
                self.console,
                folder=folder,
                gallery=path,
                jobs=self.jobs,
                overlays=overlays,
                watch=watch,
                stop_after=stop_after,
            )

    def list_gallery(self, gallery: Path | None, rate: float) -> None:
        """Who is in a gallery."""
        from gaitreid.pipeline import gallery as galleries

        path = self.gallery(gallery)
        book = galleries.read(path)
        wide = max((len(p.name) for p in book.people), default=0)
        for person in book.people:
            self.console.say(
                f"{person.name:{wide}}  {counted(person.tracks, 'tracks')}, {counted(person.videos, 'videos')}, "
                f"{counted(person.windows, 'windows')}"
            )
        of = book.gallery
        self.console.say(
            f"{path}: {counted(len(book.people), 'people')}; encoder '{of.encoder}', SHA-256 {of.weights[:16]}; "
            f"{book.metric} distance"
        )
        try:
            self.console.say(f"calibration: {book.describe(rate)}")
        except UsageError as error:
            self.console.say(f"calibration: none: {error}")

    def change_gallery(self, gallery: Path | None, how: str, person: str, *others: Any) -> None:
        """Remove, rename or merge somebody."""
        from gaitreid.pipeline import gallery as galleries

        path = self.gallery(gallery)
        before = galleries.read(path) if how == "remove" else None
        book = getattr(galleries, how)(path, person, *others)
        if before and (count := galleries.forget(self.work, before, book)):
            self.console.say(f"gallery: poses of {counted(count, 'videos')} deleted from {self.work.root / 'clips'}")
        self.console.say(
            f"gallery: {counted(len(book.people), 'people')} in {path}: {', '.join(p.name for p in book.people) or 'nobody'}"
        )

    def gallery(self, path: Path | None) -> Path:
        """Where the gallery is."""
        return path or self.work.root / "gallery.h5"

    def recogniser(self, book: "Book | None", name: str | None = None, encoder: Path | None = None) -> "Recogniser":
        """The encoder that is named, else that of the gallery, else the one that ships, beside images if it can be."""
        from gaitreid.pipeline.clips import Recogniser
        from gaitreid.pipeline.shipped import BOTH, NAME, folder, has_images

        if encoder:
            return Recogniser(encoder, encoder.name, self.config)
        if not name:
            name = book.gallery.encoder if book else BOTH if has_images(self.config) else NAME
        if name in (NAME, BOTH):
            return Recogniser(folder(), name, self.config)
        if not self.work.model(name).is_dir():
            raise UsageError(f"there is no model '{name}' in {self.work.root}: --encoder FOLDER names one that is elsewhere")
        return Recogniser(self.work.model(name), name, self.config)

    def _has_silhouettes(self, path: Path) -> bool:
        """Whether these are vectors by the shipped encoder, of videos that all have silhouettes."""
        from gaitreid.pipeline import store
        from gaitreid.pipeline.shipped import NAME
        from gaitreid.reid.records import Embeddings

        if path != self.work.embeddings(NAME):
            return False
        videos = store.column(path, "embeddings", Embeddings, "/embeddings", "video")
        return set(videos.tolist()) <= set(self.work.stems("silhouettes"))

    def _fused(self, paths: list[Path], metric: "Metric") -> Path:
        """Several embeddings as one, for a distance."""
        from gaitreid.pipeline import store
        from gaitreid.pipeline.files import digest, sha256
        from gaitreid.pipeline.work import provenance
        from gaitreid.reid.fuse import fuse
        from gaitreid.reid.records import Embeddings

        every = [store.read(path, "embeddings", Embeddings, "/embeddings") for path in paths]
        found = fuse(every, metric)
        if lack := max(len(of.video) for of in every) - len(found.video):
            self.console.say(f"fuse: {counted(lack, 'tracks')} left out that not every model has vectors of")
        made_from = digest(sha256(path) for path in paths)
        target = self.work.embeddings(found.encoder)
        return store.write(target, "embeddings", {"/embeddings": found}, provenance(self.config.encode, made_from))

    @_writes
    def run(
        self,
        videos: Sequence[Path],
        probe: str,
        gallery: str,
        *,
        pattern: str | None = None,
        labels: Path | None = None,
        retry_failed: bool = False,
        train: bool = False,
        name: str | None = None,
    ) -> Summary:
        """Videos to rankings and a report; with silhouettes where the encoder that ships may use them.

        Args:
            train: whether an encoder is trained even where there is one.
        """
        self.check_match(probe, gallery)
        running = self._running(train, name)
        summary = running.extract(videos, pattern=pattern, labels=labels, retry_failed=retry_failed)
        if train:
            running.train(name)
        self.match(probe, gallery, name)
        return summary

    def _running(self, train: bool, name: str | None) -> "Session":
        """The same as `run` goes by.

        A model that is trained is the one whose name it bears. Silhouettes are taken where the encoder that ships is gone by, and
        nothing was posed without them.
        """
        from gaitreid.pipeline.shipped import has_images
        from gaitreid.pipeline.train import is_trained

        without = self.work.stems("pose2d") and not self.work.stems("silhouettes")
        if train and name:
            return replace(self, config=self.to_train(name))
        if train or name or without or not has_images(self.config) or is_trained(self.work, self.config.train.model):
            return self
        return replace(self, config=replace(self.config, extract=replace(self.config.extract, silhouettes=True)))

    def plan(self, command: str, videos: Sequence[Path] = (), **options: Any) -> None:
        """What a command would do; nothing is written.

        Args:
            options: those of the command, as of `gaitreid.pipeline.plan.Asked`, and of `match` and `run` those of `check_match`.
        """
        from gaitreid.pipeline.plan import Asked, plan, show

        if command == "match":
            self.check_match(**options)
            options = {key: options[key] for key in ("name", "encoder", "protocol", "fused")}
        elif command == "run":
            self.check_match(options.pop("probe"), options.pop("gallery"))
        session = self._running(options["train"], options["name"]) if command == "run" else self
        steps = plan(self.work, session.config, Asked(command, videos, **options))
        show(steps, self.console, folder=self.work.root, jobs=self.jobs)

    def status(self, videos: Sequence[Path], *, verify: bool = False, as_json: bool = False) -> None:
        """What is done, stale, failed and missing; nothing is written."""
        from gaitreid.pipeline import status

        found = status.survey(self.work, self.config, videos, verify=verify)
        if as_json:
            print(json.dumps(status.as_json(found), indent=2))
        else:
            status.show(found, self.console)

    def synth(self, folder: Path) -> list[Path]:
        """Rendered walkers."""
        from gaitreid.pipeline.synth import synth

        return synth(folder, self.config.synth, self.console, jobs=self.jobs, seed=self.config.seed)

    @_writes
    def demo(self, videos: Path) -> Path:
        """The whole chain on rendered walkers: normal against coat and bag."""
        self.console.say(
            "demo: the people in these videos are rendered, not real: figures on them say that the chain works, no more"
        )
        self.synth(videos)
        self.extract([videos])
        self.train()
        report = self.match("nm", "cl")
        picture = self._picture(report.parent, videos.parent / "ranking.png")
        self.console.say(
            f"\nThe picture: {picture}\nThe report: {report}\nYour own videos: gaitreid run VIDEOS... (see `gaitreid run --help`)"
        )
        return report

    def _picture(self, match: Path, path: Path) -> Path:
        from gaitreid.pipeline import store
        from gaitreid.pipeline.picture import ranking_picture
        from gaitreid.reid.records import Embeddings, Ranking

        embeddings = store.read(self.work.embeddings(self.config.train.model), "embeddings", Embeddings, "/embeddings")
        ranking = store.read(match / "ranking.h5", "ranking", Ranking, "/ranking")
        return ranking_picture(path, self.work, embeddings, ranking)
