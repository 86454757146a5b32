"""Verb `job`: `sft` as a Job on the Hub (`hf jobs`).

The job clones one pushed commit of this repository, sets it up as `make setup` does anywhere, and trains. BASE, MIS and
general rows are mounted read-only; OUT lies in a bucket, so that the same command goes on where a job was stopped.
Nothing is launched, and nobody asked, before it was shown and called again with --yes.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.arguments import positive, seed
from mis_dataset.errors import MISError, UsageError, plain
from trainer.pushed import Commit, named_commit, path_in, pushed_commit
from trainer.recipe import RecipeArguments, read_recipe, read_settings
from trainer.recipe import add_arguments as add_recipe

if TYPE_CHECKING:
    from huggingface_hub import HfApi, HfUri, Volume

CHECKOUT = Path(__file__).resolve().parents[1]
FLAVORS = {
    **dict.fromkeys(("cpu-basic", "cpu-upgrade", "cpu-performance", "cpu-xl"), 0),
    **dict.fromkeys(("t4-small", "t4-medium", "l4x1", "l40sx1", "a10g-small", "a10g-large"), 1),
    **dict.fromkeys(("a100-large", "h200", "rtx-pro-6000"), 1),
    **dict.fromkeys(("a10g-largex2", "h200x2", "rtx-pro-6000x2"), 2),
    **dict.fromkeys(("l4x4", "l40sx4", "a10g-largex4", "a100x4", "h200x4", "rtx-pro-6000x4"), 4),
    **dict.fromkeys(("l40sx8", "a100x8", "h200x8", "rtx-pro-6000x8"), 8),
}
"""Flavor -> GPUs. Source: huggingface_hub 2.4.0, `JobHardware`."""
PARALLEL = ("fsdp2", "ddp", "zero3")
"""How several GPUs share the work; each is a file of ``trainer/configs/accelerate``."""
IMAGE = "python:3.11-bookworm"
"""It brings Python 3.11, git and make; torch brings CUDA."""
SECRET = "HF_TOKEN"
_BASE, _MIS, _GENERAL, _OUT = "/mnt/base", "/mnt/mis", "/mnt/general", "/mnt/out"
_WHY = {
    401: "it does not know the token; `hf auth login`, or put a valid one into HF_TOKEN",
    402: "the account has no credit left; add some at https://huggingface.co/settings/billing",
    403: "the token may not do this; take one that may run jobs in the namespace and read what is mounted",
    404: "no such namespace, model, dataset or bucket, or the token may not see it; correct the name",
    429: "too many requests; wait a few minutes",
}
"""What to do about a status; the Hub's own words may hold the token."""
_LONGEST = 10**9
"""Most of any unit; the client would fail on what is no time any more."""
_AGAIN = "run it again, which launches no second one"


@dataclass(frozen=True)
class Job:
    """What is launched, but for the one secret, the token.

    Attributes:
        image: of the container.
        script: what bash runs in it.
        flavor: the machine, a key of `FLAVORS`.
        timeout: such as ``"12h"``; then the Hub stops it.
        volumes: what is mounted where.
        labels: what it is found by: the recipe, the commit, and ``out``, which stands for the folder that it writes.
    """

    image: str
    script: str
    flavor: str
    timeout: str
    volumes: tuple[Volume, ...]
    labels: dict[str, str]

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "image": self.image,
            "command": ["bash", "-c", self.script],
            "flavor": self.flavor,
            "gpus": FLAVORS[self.flavor],
            "timeout": self.timeout,
            "volumes": [volume.to_uri() for volume in self.volumes],
            "secrets": [SECRET],
            "labels": self.labels,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``job``."""
    parser.add_argument("base", metavar="BASE", help="checkpoint: OWNER/MODEL[@REVISION], or hf://buckets/...")
    parser.add_argument("dataset", metavar="MIS", help="built dataset: OWNER/DATASET[@REVISION], or hf://buckets/...")
    parser.add_argument("out", metavar="OUT", help="OWNER/BUCKET[/FOLDER] of the arm; the bucket has to exist")
    add_recipe(parser)
    parser.add_argument("--general", help="where general rows of the recipe lie: OWNER/DATASET or hf://buckets/...")
    parser.add_argument(
        "--flavor", choices=FLAVORS, required=True, metavar="FLAVOR", help=f"one of {', '.join(FLAVORS)}"
    )
    parser.add_argument("--parallel", choices=PARALLEL, help="how several GPUs share it (full: fsdp2, else ddp)")
    parser.add_argument("--timeout", type=timeout, default="12h", help="the Hub stops it then: 90m, 12h (default), 1d")
    parser.add_argument("--image", type=image, default=IMAGE, help=f"with Python 3.11, git and make ({IMAGE})")
    parser.add_argument("--namespace", type=namespace, help="user or organization that pays (you)")
    parser.add_argument("--code", metavar="URL@COMMIT", help="what runs (HEAD of this checkout, at origin)")
    parser.add_argument("--seed", type=seed, default=0, help="default %(default)s")
    parser.add_argument("--limit", type=positive, help="at most so many dangerous rows, for a trial")
    parser.add_argument("--follow", action="store_true", help="show its log; exit 1 where it does not complete")
    parser.add_argument("--yes", action="store_true", help="launch it")


def timeout(text: str) -> str:
    """A duration as the Hub's client takes it.

    >>> timeout("12h")
    '12h'

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    number = re.fullmatch(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?)[smhd]", text)
    if not number or not 0 < float(number[1] or number[2]) < _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90m, 12h or 1d")
    return text


def image(text: str) -> str:
    """Name of a container's image.

    >>> image("python:3.11-bookworm")
    'python:3.11-bookworm'

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an image")
    return text


def namespace(text: str) -> str:
    """Name of a user or an organization.

    >>> namespace("my-org")
    'my-org'

    Raises:
        ArgumentTypeError: `text` is none; argparse says so and exits with 2.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a user or an organization")
    return text


def run(args: argparse.Namespace, checkout: Path = CHECKOUT) -> dict[str, Any]:
    """Shows a job and, with ``--yes``, launches it.

    Args:
        args: as `add_arguments` has them.
        checkout: what the job clones.

    Returns:
        All of the job but its secret; launched, its id and page; followed, the stage in which it ended, and whether it
        has `passed`.

    Raises:
        UsageError: Arguments that are wrong or do not go together.
        MISError: The recipe is wrong, the code is not pushed, or as `launch`.
    """
    if args.follow and not args.yes:
        raise UsageError("--follow shows the log of a job that is launched; give --yes too")
    job = make_job(args, checkout)
    _show(job)
    if not args.yes:
        print("Nothing was launched; the same command with --yes does it.", file=sys.stderr)
        return {"launched": False} | job.told()
    return launch(job, args.namespace, args.follow)


def make_job(args: argparse.Namespace, checkout: Path) -> Job:
    """What would be launched; asks no network.

    Raises:
        UsageError: Arguments that are wrong or do not go together.
        MISError: The recipe is wrong, or the code is not pushed.
    """
    from huggingface_hub import Volume

    recipe = _recipe(args)
    general = recipe.general if recipe.general_share else ""
    commit = named_commit(args.code, checkout) if args.code else pushed_commit(checkout)
    out = _place("OUT", args.out, "buckets", ("bucket",))
    # The bucket and not its folder, which may not be there yet.
    volumes = [
        _read_only("BASE", args.base, "models", _BASE),
        _read_only("MIS", args.dataset, "datasets", _MIS),
        Volume(type="bucket", source=out.id, mount_path=_OUT, read_only=False),
    ]
    volumes += [_read_only("--general", args.general, "datasets", _GENERAL)] if general else []
    words = _sft_words(args, recipe, commit, checkout, f"{_OUT}/{out.path_in_repo}".rstrip("/"))
    labels = {
        "recipe": re.sub("[^A-Za-z0-9_-]", "-", "-".join(path.stem for path in (args.config, *args.override))),
        "commit": commit.id,
        # A label has neither slashes nor dots.
        "out": hashlib.sha256(f"{out.id}/{out.path_in_repo}".encode()).hexdigest()[:32],
    }
    packages = ["bitsandbytes"] if recipe.method == "qlora" else []
    packages += ["deepspeed"] if args.parallel == "zero3" else []
    script = remote_script(commit, words, general, packages)
    return Job(args.image, script, args.flavor, args.timeout, tuple(volumes), labels)


def remote_script(commit: Commit, words: Sequence[str], general: str = "", packages: Sequence[str] = ()) -> str:
    """What bash runs in the container; every word from outside is quoted.

    Args:
        commit: what is cloned.
        words: the command that is run in the clone at the end.
        general: path by which the recipe calls its general rows, where it has any; they are mounted elsewhere.
        packages: what `make setup` does not install and the training needs.
    """
    steps = [
        ["git", "clone", "--quiet", "--", commit.url, "mis"],
        ["cd", "mis"],
        ["git", "checkout", "--quiet", "--detach", commit.id],
        ["make", "setup"],
    ]
    if packages:
        steps.append([".venv/bin/python", "-m", "pip", "install", "--quiet", *packages])
    if general:
        steps += [["mkdir", "-p", "--", Path(general).parent.as_posix()], ["ln", "-sT", "--", _GENERAL, general]]
    lines = ["set -eu", 'cd -- "${TMPDIR:-/tmp}"', *map(shlex.join, steps), f"exec {shlex.join(words)}"]
    return "\n".join(lines)


def launch(job: Job, payer: str | None, follow: bool) -> dict[str, Any]:
    """Launches a job, and follows it where that is asked for.

    Args:
        job: what.
        payer: user or organization; None: who is logged in.
        follow: wait for the end, with the log on stderr.

    Returns:
        As `run`.

    Raises:
        MISError: Nobody is logged in, a job is at work on the same OUT, or the Hub does not take it.
    """
    from huggingface_hub import HfApi, JobStage, get_token

    token = get_token()
    if not token:
        raise MISError(f"nobody is logged in on the Hub; `hf auth login`, or put a token into {SECRET}")
    api = HfApi(token=token)
    with _told("asking the Hub", token):
        payer = payer or str(api.whoami()["name"])
        # Two writers would spoil each other's checkpoints, and a bucket knows no locks.
        at_work: list[JobStage | str] = [JobStage.SCHEDULING, JobStage.RUNNING]
        for other in api.list_jobs(namespace=payer, status=at_work, labels={"out": job.labels["out"]}):
            raise MISError(f"{other.url}: is at work on the same OUT; wait for it, or `hf jobs cancel {other.id}`")
    with _told("launching the job", token):
        made = api.run_job(
            image=job.image,
            command=["bash", "-c", job.script],
            secrets={SECRET: token},
            flavor=job.flavor,
            timeout=job.timeout,
            name=f"sft-{job.labels['recipe']}",
            labels=job.labels,
            volumes=list(job.volumes),
            namespace=payer,
        )
    print(f"Launched: {made.url}", file=sys.stderr)
    found = {"launched": True, "job": made.id, "url": made.url} | job.told()
    return found | (_follow(api, made.id, made.url, payer, token) if follow else {"stage": str(made.status.stage)})


def _follow(api: HfApi, job: str, url: str, payer: str, token: str) -> dict[str, Any]:
    """The log on stderr, then how it ended."""
    from huggingface_hub import JobStage

    try:
        with _told(f"{url}: was launched and goes on (`hf jobs logs {job}`)", token):
            for line in api.fetch_job_logs(job_id=job, namespace=payer, follow=True):
                print(plain(line.replace(token, "***").rstrip("\n")), file=sys.stderr)
            status = api.wait_for_job(job, namespace=payer).status
    except KeyboardInterrupt:
        print(f"{url}: goes on; `hf jobs cancel {job}` stops it", file=sys.stderr)
        raise
    stage = str(status.stage)
    if stage != JobStage.COMPLETED:
        why = f" ({plain(status.message.replace(token, '***'))})" if status.message else ""
        print(f"{url}: ended as {stage}{why}; the same command goes on from its last checkpoint", file=sys.stderr)
    return {"stage": stage, "passed": stage == JobStage.COMPLETED}


def _recipe(args: argparse.Namespace) -> RecipeArguments:
    """Reads the recipe, and refuses what a job cannot do."""
    recipe, _ = read_recipe(args.config, Path(_OUT), args.seed, args.override)
    gpus = FLAVORS[args.flavor]
    if recipe.gate_every:
        raise UsageError(f"{args.config}: a job has no judge for a gate; set gate_every: 0 in a file of --override")
    if recipe.method == "qlora" and args.parallel in ("fsdp2", "zero3"):
        raise UsageError(f"{args.config}: weights in 4 bits cannot be sharded; leave --parallel out, or take ddp")
    if read_settings(args.config, args.override).get("use_cpu") and gpus:
        raise UsageError(f"{args.config}: trains on the CPU (use_cpu), and {args.flavor} has GPUs; take a cpu flavor")
    if args.parallel and gpus < 2:
        raise UsageError(f"--parallel: {args.flavor} has {gpus} GPUs, it is for several; leave it out")
    general = recipe.general if recipe.general_share else ""
    if general and not args.general:
        raise UsageError(f"{args.config}: mixes in rows of {general}; name with --general where they lie on the Hub")
    if args.general and not general:
        raise UsageError("--general: the recipe mixes in no rows of a dataset; leave it out")
    return recipe


def _sft_words(
    args: argparse.Namespace, recipe: RecipeArguments, commit: Commit, checkout: Path, out: str
) -> list[str]:
    """The command that trains, run in the clone."""
    words = ["-m", "trainer", "sft", _BASE, _MIS, out, "--config", path_in(commit, args.config, checkout)]
    for path in args.override:
        words += ["--override", path_in(commit, path, checkout)]
    words += ["--seed", str(args.seed)]
    words += ["--limit", str(args.limit)] if args.limit else []
    gpus = FLAVORS[args.flavor]
    if gpus < 2:
        return [".venv/bin/python", *words]
    parallel = args.parallel or ("fsdp2" if recipe.method == "full" else "ddp")
    shared = checkout / "trainer" / "configs" / "accelerate" / f"{parallel}.yaml"
    settings = ["--config_file", path_in(commit, shared, checkout), "--num_processes", str(gpus)]
    return [".venv/bin/accelerate", "launch", *settings, *words]


def _read_only(name: str, text: str, kind: str, mount: str) -> Volume:
    """What is mounted to be read."""
    from huggingface_hub import Volume

    place = _place(name, text, kind, ("model", "dataset", "bucket"))
    path, revision = place.path_in_repo or None, place.revision
    return Volume(type=place.type, source=place.id, mount_path=mount, revision=revision, read_only=True, path=path)


def _place(name: str, text: str, kind: str, known: tuple[str, ...]) -> HfUri:
    """A place on the Hub, by its id or by the whole of its address."""
    from huggingface_hub import parse_hf_uri
    from huggingface_hub.errors import HfUriError

    try:
        place = parse_hf_uri(text if text.startswith("hf://") else f"hf://{kind}/{text}")
    except HfUriError as error:
        raise UsageError(f"{name} {text!r}: {error.msg}") from error
    # What cannot be printed cannot be shown before it is launched, and half a letter is no name anywhere.
    if place.type not in known or ".." in place.path_in_repo.split("/") or not text.isprintable():
        raise UsageError(f"{name} {text!r}: is no folder of a {' or '.join(known)} on the Hub")
    return place


def _show(job: Job) -> None:
    """The job, for people."""
    told = job.told()
    lines = [f"{name}: {told[name]}" for name in ("image", "flavor", "gpus", "timeout")]
    for name in ("volumes", "secrets"):
        lines += [f"{name}:", *(f"  {one}" for one in told[name])]
    lines += ["labels:", *(f"  {name}: {value}" for name, value in job.labels.items())]
    lines += ["command, by bash:", *(f"  {line}" for line in job.script.splitlines())]
    print("\n".join(map(plain, lines)), file=sys.stderr)


@contextmanager
def _told(what: str, token: str) -> Iterator[None]:
    """Tells what goes wrong between the Hub and us, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # Of the HTTP client that this huggingface_hub uses; which one that is changed between its versions.
    http_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = plain((error.server_message or "").replace(token, "***"))
        again = _AGAIN if status >= 500 else f"it says {said!r}"
        raise MISError(f"{what}: the Hub answers {status}: {_WHY.get(status, again)}") from error
    except OfflineModeIsEnabled as error:
        raise MISError(f"{what}: the Hub may not be asked while HF_HUB_OFFLINE is set; unset it") from error
    except (ValueError, KeyError, TypeError) as error:
        kind = type(error).__name__
        raise MISError(f"{what}: what answers is not the Hub ({kind}); look at HF_ENDPOINT and the proxy") from error
    except (http_error, OSError) as error:
        raise MISError(f"{what}: the Hub cannot be reached, or broke off ({type(error).__name__}); {_AGAIN}") from error
