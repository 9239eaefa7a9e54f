"""The command line: one command a stage. Parses, calls, prints; heavy imports happen inside the commands."""

import inspect as reflection
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gaitreid.pipeline.config import Config
    from gaitreid.pipeline.jobs import Summary
    from gaitreid.pipeline.session import Session

app = typer.Typer(
    name="gaitreid",
    help="Who is who by how they walk: a folder of videos in, ranked identities out.",
    epilog="Start with: gaitreid demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Common:
    """Options of every command that works in a work folder."""

    work: Annotated[Path, typer.Option("--work", envvar="GAITREID_WORK", help="Folder that holds all results.")] = Path("work")
    config: Annotated[Path | None, typer.Option("--config", help="YAML file, or the name of a shipped one.")] = None
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as split.length=20.")
    ] = None
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything that draws random numbers.")] = None
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Worker processes (default: one a core, at most 8).")] = None
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only say what went wrong.")] = False
    log_json: Annotated[bool, typer.Option("--log-json", help="Lines and progress as JSON, a line each, on stdout.")] = False


def command(panel: str, of: typer.Typer | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: its own options, and after them those of Common, which it gets as its first argument."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def call(**options: Any) -> None:
            common = Common(**{f.name: options.pop(f.name) for f in fields(Common)})
            function(common, **options)

        own = list(reflection.signature(function).parameters.values())[1:]
        shared = [
            reflection.Parameter(f.name, reflection.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
            for f in fields(Common)
        ]
        parameters = [p.replace(kind=reflection.Parameter.KEYWORD_ONLY) for p in own] + shared
        call.__signature__ = reflection.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        (of or app).command(function.__name__.rstrip("_"), rich_help_panel=panel if of is None else None)(call)
        return function

    return register


NameOption = Annotated[str | None, typer.Option("--name", help="Name of the trained model (default: the model's kind).")]
VideosArgument = Annotated[list[Path], typer.Argument(metavar="VIDEOS...", help="Video files, or folders of them.")]
PatternOption = Annotated[
    str | None,
    typer.Option("--pattern", help="Regular expression over file names with groups subject, condition, number, view."),
]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="CSV with columns video, subject, condition, number, view.")]
ProbeOption = Annotated[
    str | None, typer.Option("--probe", help="A condition (nm), or a selector: condition=nm,view=090|108,number=05.")
]
GalleryOption = Annotated[str | None, typer.Option("--gallery", help="As --probe: those that it is compared with.")]
EncoderOption = Annotated[
    Path | None,
    typer.Option("--encoder", metavar="FOLDER", help="models/NAME of another work folder: its encoder is used here (transfer)."),
]
AsPublishedOption = Annotated[
    bool, typer.Option("--as-published", help="As the released code does it, known leaks included; the report says so.")
]
FramesOption = Annotated[bool, typer.Option("--frames", help="Stills of the videos in the report, heads blurred.")]
FacesOption = Annotated[bool, typer.Option("--faces", help="Stills with heads as they are.")]
TrustOption = Annotated[
    bool, typer.Option("--trust-config", help="Run a Python file of your own as a configuration of mmpose or mmdet.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="Dask cluster that does the work, such as tcp://HOST:8786."),
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the windows.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done, about how long it takes, and how much disk it needs.")
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")]
IterationsOption = Annotated[int | None, typer.Option("--iterations", min=1, help="Steps, of models of whole walks.")]
NormalizeOption = Annotated[str | None, typer.Option("--normalize", help="none, root or gait.")]


def _version(asked: bool) -> None:
    if asked:
        from gaitreid import __version__

        print(f"gaitreid {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@command("Stages")
def extract(
    common: Common,
    videos: VideosArgument,
    pose: Annotated[str | None, typer.Option("--pose", help="2D pose estimator (see `gaitreid plugins`).")] = None,
    detector: Annotated[str | None, typer.Option("--detector", help="auto, hog, motion, whole, rtmdet or torchvision.")] = None,
    trust_config: TrustOption = False,
    pattern: PatternOption = None,
    labels: LabelsOption = None,
    silhouettes: Annotated[bool, typer.Option("--silhouettes", help="Also write 64x44 silhouettes.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is up to date.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that gives no track.")] = False,
    scheduler: SchedulerOption = None,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts of the videos: for batch queues.")
    ] = None,
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Find, track and pose the people in videos: pose2d/.

    Labels come from CASIA-B's file names (001-nm-01-090.avi), from --pattern, or from --labels.
    """
    given = {"extract.pose": pose, "extract.detector": detector, "extract.silhouettes": silhouettes or None}
    session = _session(common, {**given, "extract.trust_config": trust_config or None}, scheduler)
    which: dict[str, Any] = {"pattern": pattern, "labels": labels, "overwrite": overwrite, "shard": shard}
    if dry_run:
        session.plan("extract", videos, **which, retry_failed=retry_failed)
    else:
        _end(session.extract(videos, **which, fail_fast=fail_fast, retry_failed=retry_failed))


@command("Stages")
def lift(
    common: Common,
    lifter: Annotated[
        str | None, typer.Option("--lifter", help="auto, world, tcn[:FOLDER], matching[:FOLDER] or mmpose:CONFIG[,CHECKPOINT].")
    ] = None,
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="h36m17, casia14, kinect20 or kinect25.")] = None,
    trust_config: TrustOption = False,
    scheduler: SchedulerOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Lift every track to 3D and clean it: pose3d/.

    world is the pose estimator's own 3D, tcn the network that ships, matching lifts by example, mmpose: a model of its zoo.
    FOLDER is what `gaitreid train --model lifter` (or matching) made. auto is world where there is 3D, and tcn where not.
    """
    given = {"lift.lifter": lifter, "lift.skeleton": skeleton, "lift.trust_config": trust_config or None}
    session = _session(common, given, scheduler)
    if dry_run:
        session.plan("lift")
    else:
        _end(session.lift())


@command("Stages")
def split(
    common: Common,
    length: Annotated[int | None, typer.Option("--length", min=2, help="Frames a window; the step is half of it.")] = None,
    normalize: NormalizeOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Cut the tracks into normalised windows: sequences.h5."""
    session = _session(common, {"split.length": length, "split.normalize": normalize})
    if dry_run:
        session.plan("split")
    else:
        session.split()


@command("Stages")
def train(
    common: Common,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Kind of encoder (see `gaitreid plugins`); or lifter, matching (its library), silhouette-rcnn."
        ),
    ] = None,
    name: NameOption = None,
    epochs: EpochsOption = None,
    iterations: IterationsOption = None,
    subjects: Annotated[str | None, typer.Option("--subjects", help="Train on these only: 001-074, or 001,005,009.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, whatever settings it had.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train anew what is up to date.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train a gait encoder on the windows: models/NAME/. AGE and CAGE, the default, take no labels.

    A training that was cut off goes on where it was when the same command is given again. With --model lifter it learns from
    walks in 3D instead: --set 'lifter.motions=[FILE.npz]' names them, made-up walkers come by themselves. lstm and posegait
    learn from labels, too; gaitgl, gaittake and skeleton from whole walks and labels; --config gaittake-small is for a
    processor (docs/gaittake.md).
    """
    given = {"train.model": model, "train.epochs": epochs, "lifter.epochs": epochs, "train.subjects": subjects}
    session = _session(common, {**given, "walks.iterations": iterations, "silhouette_rcnn.iterations": iterations})
    if dry_run:
        session.plan("train", name=name, resume=resume, overwrite=overwrite)
    else:
        session.train(name, resume=resume, overwrite=overwrite)


@command("Stages")
def encode(
    common: Common,
    name: NameOption = None,
    encoder: EncoderOption = None,
    form: Annotated[str | None, typer.Option("--form", help="mean over a window's frames, or sc: concatenated.")] = None,
    dry_run: DryRunOption = False,
) -> None:
    """One vector a window and one a track: embeddings/NAME.h5."""
    session = _session(common, {"encode.form": form})
    if dry_run:
        session.plan("encode", name=name, encoder=encoder)
    else:
        session.encode(name, encoder)


@command("Stages")
def match(
    common: Common,
    probe: ProbeOption = None,
    gallery: GalleryOption = None,
    name: NameOption = None,
    encoder: EncoderOption = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="plain, lt or cross-view (CASIA-B), cve, cme (CAGE's), ou-mvlp, gait3d or grew.")
    ] = "plain",
    training: Annotated[
        int | None,
        typer.Option("--training", min=0, help="lt, cross-view: the first 24, 62 or 74 (default) people are not tested."),
    ] = None,
    as_published: AsPublishedOption = False,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="cosine, euclidean, robust or alike (saturate part by part), or lmnn, itml (learnt from the gallery's labels).",
        ),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude", help="same-recording, same-window, overlap, same-view or nothing.")
    ] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Rank tracks or windows.")] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="Ranks to write.")] = None,
    form: Annotated[str | None, typer.Option("--form", help="mean over a window's frames, or sc: concatenated.")] = None,
    rerank: Annotated[
        int | None, typer.Option("--rerank", min=0, metavar="K", help="k-reciprocal re-ranking by K neighbours (20 is usual).")
    ] = None,
    fuse: Annotated[
        list[str] | None, typer.Option("--fuse", metavar="NAME", help="Another model whose distances are fused in.")
    ] = None,
    frames: FramesOption = False,
    faces: FacesOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Rank the gallery for every probe: matches/PROBE-GALLERY/ with metrics, rankings and a report.

    Without --probe and --gallery every track is ranked against the tracks of other recordings.
    """
    from gaitreid.pipeline.config import named
    from gaitreid.pipeline.searches import PROTOCOLS

    known = ("plain", "cve", "cme", *PROTOCOLS)
    if protocol not in known:
        raise typer.BadParameter(f"{protocol!r}: there are {', '.join(known)}", param_hint="--protocol")
    given = {"match.metric": metric, "match.exclude": exclude, "match.unit": unit, "match.top": top, "match.rerank": rerank}
    given |= {"encode.form": form}
    session = _session(common, given)
    asked = [f"--{setting.split('.')[1]}" for setting, value in given.items() if value is not None]
    which: dict[str, Any] = {
        "probe": probe or "",
        "gallery": gallery or "",
        "name": name,
        "encoder": encoder,
        "protocol": protocol,
        "training": training,
        "as_published": as_published,
        "frames": _frames(frames, faces),
        "fused": fuse or [],
        "asked": [*asked, *(f"--set {setting}" for setting in named(common.set_ or ()))],
    }
    if dry_run:
        session.plan("match", **which)
    else:
        session.match(**which)


@command("Stages")
def recognise(
    common: Common,
    name: NameOption = None,
    encoder: EncoderOption = None,
    train: Annotated[str | None, typer.Option("--train", metavar="SELECTOR", help="Tracks that are learnt from.")] = None,
    test: Annotated[str | None, typer.Option("--test", metavar="SELECTOR", help="Tracks that are to be named.")] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="biwi, ias, kgbd, ks20-rs, ks20-cvs or cve.")] = None,
    recogniser: Annotated[str | None, typer.Option("--recogniser", help="rn (a network), knn, svm or adaboost.")] = None,
    manner: Annotated[str | None, typer.Option("--manner", help="ap: frames averaged; sc: frames concatenated.")] = None,
    select: Annotated[str | None, typer.Option("--select", help="Which epoch counts: last, val or oracle-test.")] = None,
    as_published: AsPublishedOption = False,
) -> None:
    """Name people of a closed set: recognition/NAME/ with metrics, confusion and a report.

    With --protocol the encoder, too, is trained on what each fold learns from.
    """
    if as_published and select not in (None, "oracle-test"):
        raise typer.BadParameter("--as-published takes the epoch that is best on the test set", param_hint="--select")
    given = {"recognise.recogniser": recogniser, "recognise.manner": manner, "recognise.select": select}
    session = _session(common, given)
    session.recognise(
        name, encoder=encoder, protocol=protocol or "", train=train or "", test=test or "", as_published=as_published
    )


@command("Data sets")
def import_(
    common: Common,
    format_: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="openpose, alphapose, coco, mmpose, sleap, silhouettes; biwi, ias, kgbd, ks20, kinect; npy (official windows).",
        ),
    ],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders of them; a data set's folder.")],
    pattern: PatternOption = None,
    labels: LabelsOption = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.1, max=10_000, help="Frames a second of the videos behind the keypoints.")
    ] = None,
) -> None:
    """Bring in keypoints of other tools (pose2d/), OpenGait's silhouettes (silhouettes/), skeletons of data sets (pose3d/).

    Kinect skeletons keep the sensor's own rate: --set split.fps=null. What each format keeps: docs/keypoints.md.
    """
    session = _session(common, {})
    _end(session.bring_in(format_, paths, pattern=pattern, labels=labels, fps=fps))


export = typer.Typer(no_args_is_help=True, help="Tracks, silhouettes, windows and encoders for other programs.")
app.add_typer(export, name="export", rich_help_panel="Data sets")
TargetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into.")]
JointsOption = Annotated[
    str | None, typer.Option("--skeleton", help="Joints to write (default: coco17), or own: those that the tracks have.")
]


@command("Data sets", export)
def openpose(
    common: Common,
    target: TargetArgument,
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="body25 (default) or coco18.")] = None,
) -> None:
    """Tracks as OpenPose writes them: a folder a video, a JSON file a frame."""
    _session(common, {}).export_tracks("openpose", target, skeleton)


@command("Data sets", export)
def alphapose(
    common: Common,
    target: TargetArgument,
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="coco17 (default) or halpe26.")] = None,
) -> None:
    """Tracks as AlphaPose writes them: VIDEO/alphapose-results.json."""
    _session(common, {}).export_tracks("alphapose", target, skeleton)


@command("Data sets", export)
def coco(common: Common, target: TargetArgument, skeleton: JointsOption = None) -> None:
    """Tracks of all videos as COCO's annotations: annotations.json."""
    _session(common, {}).export_tracks("coco", target, skeleton)


@command("Data sets", export)
def mmpose(common: Common, target: TargetArgument, skeleton: JointsOption = None) -> None:
    """Tracks as MMPose's demos write them: results_VIDEO.json."""
    _session(common, {}).export_tracks("mmpose", target, skeleton)


@command("Data sets", export)
def sleap(
    common: Common,
    target: TargetArgument,
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="Joints to write (default: those of the tracks).")] = None,
) -> None:
    """Tracks as SLEAP's analysis files: VIDEO.analysis.h5."""
    _session(common, {}).export_tracks("sleap", target, skeleton)


@command("Data sets", export)
def silhouettes(common: Common, target: TargetArgument) -> None:
    """Silhouettes in OpenGait's layout: ID/TYPE-NUM/VIEW/*.png."""
    _session(common, {}).export_silhouettes(target)


@command("Data sets", export)
def npy(
    common: Common,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where the folder NAME/f goes (Datasets/ of the official code).")],
    dataset: Annotated[str, typer.Option("--name", help="What the data set is called there, such as BIWI.")] = "DATA",
    train: Annotated[str, typer.Option("--train", metavar="SELECTOR", help="Training windows.")] = "all",
    test: Annotated[str, typer.Option("--test", metavar="SELECTOR", help="Test windows.")] = "all",
) -> None:
    """The windows in the official layout of AGE and CAGE."""
    _session(common, {}).export_npy(target, dataset, train, test)


@command("Data sets", export)
def onnx(
    common: Common,
    name: NameOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="File (default: encoder.onnx beside the weights).")] = None,
) -> None:
    """A trained encoder as ONNX, checked with onnxruntime against this one (needs onnx, onnxruntime and onnxscript).

    Of CAGE this takes a minute or two.
    """
    _session(common, {}).export_onnx(name, out)


@command("All in one")
def run(
    common: Common,
    videos: VideosArgument,
    probe: ProbeOption = None,
    gallery: GalleryOption = None,
    train: Annotated[bool, typer.Option("--train", help="Train on these videos even where a model is there.")] = False,
    name: NameOption = None,
    epochs: EpochsOption = None,
    pattern: PatternOption = None,
    labels: LabelsOption = None,
    scheduler: SchedulerOption = None,
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """From a folder of videos to ranked identities."""
    session = _session(common, {"train.epochs": epochs}, scheduler)
    which: dict[str, Any] = {"pattern": pattern, "labels": labels, "retry_failed": retry_failed, "train": train, "name": name}
    if dry_run:
        session.plan("run", videos, probe=probe or "", gallery=gallery or "", **which)
    else:
        _end(session.run(videos, probe or "", gallery or "", **which))


@command("All in one")
def demo(
    common: Common,
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to put the rendered walkers and all results.")] = Path("demo"),
) -> None:
    """The whole chain on rendered walkers, in at most three minutes. Results go to FOLDER/work unless --work is given."""
    # Not where GAITREID_WORK says: there are people who are real.
    source = context.get_parameter_source("work")
    work = common.work if source and source.name == "COMMANDLINE" else folder / "work"
    session = _session(replace(common, work=work, config=common.config or Path("demo")), {})
    session.demo(folder / "videos")


gallery = typer.Typer(no_args_is_help=True, help="People who are known: add, list, remove, rename, merge.")
app.add_typer(gallery, name="gallery", rich_help_panel="All in one")

FileOption = Annotated[
    Path | None, typer.Option("--gallery", metavar="FILE", help="The gallery (default: gallery.h5 in the work folder).")
]
PersonArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who it is.")]
WithOption = Annotated[
    str | None,
    typer.Option("--name", help="Encoder by name: shipped, or a model of the work folder (default: the gallery's own)."),
]
RateOption = Annotated[
    float,
    typer.Option("--far", min=1e-6, max=0.99, help="Share of strangers that may be taken for somebody (0.99: all are known)."),
]


@command("", gallery)
def add(
    common: Common,
    person: PersonArgument,
    videos: VideosArgument,
    file: FileOption = None,
    name: WithOption = None,
    encoder: EncoderOption = None,
) -> None:
    """Enrol somebody with videos in which they walk."""
    _end(_session(common, {}).enrol(file, person, videos, name, encoder))


@command("", gallery)
def list_(common: Common, file: FileOption = None, far: RateOption = 0.05) -> None:
    """Who is in the gallery, and how it is calibrated."""
    _session(common, {}).list_gallery(file, far)


@command("", gallery)
def remove(common: Common, person: PersonArgument, file: FileOption = None) -> None:
    """Take somebody out: nothing of them stays in the file."""
    _session(common, {}).change_gallery(file, "remove", person)


@command("", gallery)
def rename(
    common: Common, person: PersonArgument, new: Annotated[str, typer.Argument(metavar="NEW")], file: FileOption = None
) -> None:
    """Give somebody another name."""
    _session(common, {}).change_gallery(file, "rename", person, new)


@command("", gallery)
def merge(
    common: Common,
    person: PersonArgument,
    others: Annotated[list[str] | None, typer.Argument(metavar="OTHER...", help="Names, or gallery files.")] = None,
    file: FileOption = None,
) -> None:
    """Make one of several people; another gallery file brings everybody who is in it."""
    _session(common, {}).change_gallery(file, "merge", person, others or [])


@command("All in one")
def identify(
    common: Common,
    videos: Annotated[list[Path] | None, typer.Argument(metavar="VIDEOS...", help="Video files, or folders of them.")] = None,
    file: FileOption = None,
    far: RateOption = 0.05,
    name: WithOption = None,
    encoder: EncoderOption = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="Names to list for each track.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="For identities.csv and .json (default: identified/ in the work folder)."),
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write each video with boxes, skeletons and names.")] = False,
    watch: Annotated[
        Path | None, typer.Option("--watch", metavar="DIR", help="Go on with the videos that come into this folder.")
    ] = None,
    stop_after: Annotated[
        float | None, typer.Option("--stop-after", metavar="SECONDS", help="End --watch when nothing came for so long.")
    ] = None,
    live: Annotated[
        str | None, typer.Option("--live", metavar="CAMERA_OR_FILE", help="Name people while it plays: 0 is the first camera.")
    ] = None,
) -> None:
    """Who is who in these videos, by a gallery; strangers are `unknown`."""
    if not videos and watch is None and live is None:
        raise typer.BadParameter("name videos, or --watch, or --live", param_hint="VIDEOS...")
    if live is not None and (videos or watch or out or overlay or top):
        raise typer.BadParameter(
            "goes without VIDEOS, --watch, --out, --overlay and --top: nothing is written", param_hint="--live"
        )
    if stop_after is not None and watch is None:
        raise typer.BadParameter("says when --watch ends, which is not given", param_hint="--stop-after")
    session = _session(common, {"match.top": top})
    _end(
        session.identify(
            videos or [],
            file,
            name=name,
            encoder=encoder,
            rate=far,
            out=out,
            overlays=overlay,
            watch=watch,
            live=live,
            stop_after=stop_after,
        )
    )


@command("All in one")
def synth(
    common: Common,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the videos, and truth/ with ground truth.")],
    subjects: Annotated[int | None, typer.Option("--subjects", min=1, help="How many people.")] = None,
    views: Annotated[str | None, typer.Option("--views", help="Degrees: 0,90; 0 walks towards the camera.")] = None,
    conditions: Annotated[
        str | None, typer.Option("--conditions", help="nm (normal), bg (bag), cl (coat), day (any other day); default: nm,bg,cl.")
    ] = None,
    numbers: Annotated[int | None, typer.Option("--numbers", min=1, help="Recordings a condition (default: 2).")] = None,
    people: Annotated[
        int | None,
        typer.Option("--people-per-scene", min=1, help="People in one frame: one condition (nm), one recording."),
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.2, help="Length of a clip.")] = None,
) -> None:
    """Render walking people with 3D ground truth, under CASIA-B's names: 001-nm-01-090.avi."""
    given = {
        "synth.subjects": subjects,
        "synth.views": _numbers("--views", views),
        "synth.conditions": conditions.split(",") if conditions is not None else None,
        "synth.numbers": numbers,
        "synth.people_per_scene": people,
        "synth.seconds": seconds,
    }
    _session(common, given).synth(folder)


@command("Look")
def report(
    common: Common,
    probe: ProbeOption = None,
    gallery: GalleryOption = None,
    name: NameOption = None,
    protocol: Annotated[str, typer.Option("--protocol", help="That of the comparison.")] = "plain",
    frames: FramesOption = False,
    faces: FacesOption = False,
) -> None:
    """The report of a comparison once more, such as with stills of the videos (--frames).

    It goes by what `match` made the comparison by, and changes no figure: settings of its own are not asked for.
    --probe, --gallery and --protocol say which it is: matches/PROTOCOL-PROBE-GALLERY/.
    """
    _session(common, {}).report(probe or "", gallery or "", protocol=protocol, name=name, frames=_frames(frames, faces))


@command("Look")
def status(
    common: Common,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VIDEOS...", help="Files or folders (default: the videos that are known here)."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash all videos, in place of looking at sizes and times.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs, with all items.")] = False,
) -> None:
    """What is done, what is stale and why, what failed and why, and what is missing; by the settings in force."""
    _session(common, {}).status(videos or [], verify=verify, as_json=json_)


@app.command(rich_help_panel="Look")
def inspect(file: Annotated[Path, typer.Argument(help="An HDF5 file that gaitreid wrote.")]) -> None:
    """What is in a file: provenance, shapes, units."""
    from gaitreid.pipeline import store
    from gaitreid.pipeline.console import printed

    found = store.describe(file)
    for name, value in found["attributes"].items():
        print(printed(f"{name}: {value}"))
    for name, facts in found["datasets"].items():
        print(printed(f"{name}  ({facts.get('dims', '')})  {facts['shape']}  {facts['dtype']}  {facts.get('unit', '')}"))


@app.command(rich_help_panel="Look")
def plugins() -> None:
    """Pose estimators, lifters and encoders that can be named."""
    from gaitreid.pipeline import plugins as known

    for kind in known.BUILT_IN:
        for name, where in known.names(kind).items():
            print(f"{kind:8} {name:12} {where}")


@command("Look")
def doctor(
    common: Common,
    download: Annotated[
        list[str] | None, typer.Option("--download", metavar="NAME", help="Fetch these weights (none is fetched unasked).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Whether all that is needed is here, which weights are, and what mends what is not."""
    import json

    from gaitreid.pipeline import doctor as examination
    from gaitreid.pipeline.console import Console

    try:
        device = _config(common, {}).device
    except ImportError:  # a package that settings need is missing, of which the examination tells
        device = common.device or "auto"
    console = Console(-1 if json_ else common.verbose - common.quiet, as_json=common.log_json)
    for name in download or ():
        examination.download(name, console)
    found = examination.examine(common.work, device)
    if json_:
        print(json.dumps(examination.as_json(found), indent=2))
    else:
        examination.show(found, console)
    if not found.healthy:
        raise typer.Exit(1)


def _config(common: Common, given: dict[str, Any]) -> "Config":
    """The settings in force: the file, over it --set, over that the command's own options."""
    from gaitreid.pipeline.config import load

    named = {"seed": common.seed, "device": common.device, **given}
    return load(common.config, common.set_ or (), {key: value for key, value in named.items() if value is not None})


def _session(common: Common, given: dict[str, Any], scheduler: str | None = None) -> "Session":
    from gaitreid.pipeline.console import Console
    from gaitreid.pipeline.jobs import cores
    from gaitreid.pipeline.logs import RunLog
    from gaitreid.pipeline.session import Session
    from gaitreid.pipeline.work import Work

    config = _config(common, given)
    console = Console(common.verbose - common.quiet, RunLog(common.work, config.logs), common.log_json)
    return Session(Work(common.work), config, console, common.jobs or min(cores(), 8), scheduler)


def _frames(frames: bool, faces: bool) -> Any:
    return ("plain" if faces else "blurred") if frames or faces else None


def _numbers(option: str, text: str | None) -> list[int] | None:
    try:
        return [int(part) for part in text.split(",")] if text is not None else None
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected whole numbers with commas between", param_hint=option) from None


def _end(summary: "Summary") -> None:
    """Exit code 1 where some items failed; each was named when it did."""
    if summary.failed:
        raise typer.Exit(1)


def share_the_cores() -> None:
    """Let threads that wait for one another do so for microseconds, then sleep; unless the environment says how they wait.

    GNU's OpenMP, which torch takes, has them spin for milliseconds: where another program has one of the cores that is nearly
    all that they do. To be called before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def main() -> None:
    """Entry point of `gaitreid`: errors become one line on stderr and an exit code (0, 1, 2 or 3; 130 when interrupted)."""
    from gaitreid.pipeline.console import printed
    from gaitreid.pose.errors import GaitReidError, UsageError

    share_the_cores()
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except GaitReidError as error:
        print(printed(f"gaitreid: {error}"), file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 3)
    except (OSError, MemoryError) as error:
        print(printed(f"gaitreid: {error or 'there is not enough memory'}"), file=sys.stderr)
        sys.exit(3)
    except SystemExit as end:
        if end.code == 130:  # typer's for Ctrl-C
            print("gaitreid: interrupted; the same command goes on from here", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
