"""The stages in order: each command first brings what is before it up to date."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import Summary
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import UsageError


@dataclass(frozen=True)
class Session:
    """One work folder, the settings in force, and where to say things.

    Attributes:
        jobs: worker processes.
    """

    work: Work
    config: Config
    console: Console
    jobs: int = 1

    def extract(
        self,
        videos: Sequence[Path],
        *,
        pattern: str | None = None,
        labels: Path | None = None,
        overwrite: bool = False,
        fail_fast: bool = False,
    ) -> Summary:
        """Videos to tracks in 2D."""
        from gaitreid.pipeline.extract import extract
        from gaitreid.pipeline.labels import Labeller

        return extract(
            self.work,
            self.config.extract,
            videos,
            Labeller(pattern, labels),
            self.console,
            jobs=self.jobs,
            overwrite=overwrite,
            fail_fast=fail_fast,
        )

    def lift(self) -> Summary:
        """Tracks in 2D to 3D."""
        from gaitreid.pipeline.lift import lift

        return lift(self.work, self.config.lift, self.console, jobs=self.jobs)

    def split(self) -> Path:
        """Tracks to windows."""
        from gaitreid.pipeline.split import split

        if self.work.stems("pose2d") or self.work.stems("pose3d") or not self.work.sequences.exists():
            self.lift()
        return split(self.work, self.config.split, self.console)

    def train(self, name: str | None = None, *, resume: bool = False, overwrite: bool = False) -> Path:
        """Windows to an encoder."""
        from gaitreid.pipeline.plugins import check
        from gaitreid.pipeline.train import train

        check("encoder", self.config.train.model)
        self.split()
        return train(self.work, self.config, name or self.config.train.model, self.console, resume=resume, overwrite=overwrite)

    def bring_in(self, format_: str, paths: Sequence[Path]) -> Summary:
        """Skeletons of a data set into the work folder."""
        from gaitreid.pipeline import importer, official

        if format_ == "npy":
            official.bring_in(self.work, list(paths), self.console)
            return Summary()
        return importer.bring_in(self.work, format_, list(paths), self.console)

    def encode(self, name: str | None = None, encoder: Path | None = None) -> Path:
        """Windows to vectors, by a model that is trained first where there is none of this name.

        Args:
            encoder: a folder models/NAME of another work folder, which is copied here first.
        """
        from gaitreid.pipeline.encode import encode
        from gaitreid.pipeline.train import is_trained, train

        self.split()
        name = self._model(name, encoder)
        if not is_trained(self.work, name):
            self.console.say(f"train: there is no model '{name}' in {self.work.root} yet")
            train(self.work, self.to_train(name), name, self.console)
        return encode(self.work, self.config, name, self.console)

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

        return replace(self.config, train=replace(self.config.train, model=name)) if name in names("encoder") else self.config

    def _model(self, name: str | None, encoder: Path | None) -> str:
        """Name of the model in force; one of another work folder is copied here first."""
        from gaitreid.pipeline.encode import adopt

        name = name or (encoder.name if encoder else self.config.train.model)
        if encoder:
            adopt(self.work, encoder, name)
        return name

    def export_npy(self, target: Path, dataset: str, train: str, test: str) -> Path:
        """Windows in the official layout of AGE and CAGE."""
        from gaitreid.pipeline.official import hand_out

        self.split()
        return hand_out(self.work, target, dataset, train, test, self.console)

    def export_onnx(self, name: str | None, target: Path | None) -> Path:
        """A trained encoder as ONNX."""
        from gaitreid.pipeline.onnx import export

        return export(self.work, self.config, name or self.config.train.model, target, self.console)

    def match(
        self,
        probe: str = "",
        gallery: str = "",
        name: str | None = None,
        *,
        encoder: Path | None = None,
        protocol: str = "plain",
        as_published: bool = False,
    ) -> Path:
        """Vectors to rankings and a report; the path of the report."""
        from gaitreid.pipeline.match import cme, match

        if protocol == "cme":
            if encoder:
                raise UsageError("--protocol cme trains its own encoder: leave --encoder away")
            return cme(self, name, as_published=as_published)
        embeddings = self.encode(name, encoder)
        return match(self.work, self.config.match, embeddings, probe, gallery, self.console, seed=self.config.seed)

    def synth(self, folder: Path) -> list[Path]:
        """Rendered walkers."""
        from gaitreid.pipeline.synth import synth

        return synth(folder, self.config.synth, self.console, jobs=self.jobs, seed=self.config.seed)

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
