"""What `modctl tune` is put together from: backbone and precision, the prompt to start from, readers, cache."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from moderation.cli.shared import console, load_prompt, parts, say
from moderation.errors import ConfigurationError, ServiceDown

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import PromptId
    from moderation.flows.tuning.tuned import Bench
    from moderation.training.plan import Precision, TunePlan
    from moderation.wiring import Wiring

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def machine(plan: TunePlan, stack: ExitStack, *, exact: bool) -> tuple[TunePlan, Wiring]:
    """The parts, with the backbone in the precision that the plan says or gets here."""
    from dataclasses import replace

    from moderation.detector.device import choose_device, choose_dtype
    from moderation.settings import load_settings

    settings = load_settings()
    device = choose_device(settings.device)
    dtype = str(choose_dtype(settings.dtype, device)).removeprefix("torch.")
    named = next(name for name, known in _DTYPES.items() if known == dtype)
    precision = plan.precision or named
    if precision == "fp16" and device.type != "cuda":
        if exact:
            raise ConfigurationError("MODERATION_DEVICE", f"the run began in fp16 on CUDA; this is {device.type}")
        say(f"precision: fp16 needs CUDA and this is {device.type}; tuning in fp32")
        precision = "fp32"
    wiring = stack.enter_context(parts(dtype=_DTYPES[precision]))
    return replace(plan, precision=cast("Precision", precision)), wiring


def starting_prompt(plan: TunePlan, wiring: Wiring) -> tuple[SoftPrompt | None, PromptId | None]:
    """The prompt that --init names, and its id if it is a registered one."""
    kind, _, value = plan.init.partition(":")
    if kind != "prompt":
        return None, None
    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import prompt_id_of

    if Path(value).is_file():
        prompt = load_prompt(Path(value))
        try:
            return prompt, wiring.prompts.find(prompt_id_of(prompt.sha256)).prompt_id
        except (ConfigurationError, ServiceDown):
            return prompt, None  # a file needs no registry
    try:
        record = wiring.prompts.find(value)
    except ConfigurationError as error:
        raise ConfigurationError("--init", f"{value!r} is no file, and {error.problem}", hint=error.hint) from None
    return SoftPrompt.from_bytes(wiring.prompts.blob(record.prompt_id), sha256=record.sha256), record.prompt_id


def workbench(wiring: Wiring, stack: ExitStack, cache: Path | None, *, tensorboard: bool) -> Bench:
    """What the run works with, closed with `stack`."""
    from moderation.flows.tuning.tuned import Bench
    from moderation.images import decode
    from moderation.training.progress import Interrupt

    settings, size = wiring.settings, wiring.backbone.image_size
    turned = "exif" if settings.exif_orientation else "stored"
    return Bench(
        backbone=wiring.backbone,
        decode=lambda data: decode(
            data, max_pixels=settings.max_image_pixels, exif_orientation=settings.exif_orientation
        )[0],
        readers=stack.enter_context(ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="read")),
        preparation=f"shorter side {size} bicubic, centre crop, {turned} orientation",
        console=console(stderr=True),
        say=say,
        interrupt=Interrupt(say),
        cache=cache,
        tensorboard=tensorboard,
    )


@contextmanager
def going_on(run: Path) -> Iterator[None]:
    """Tells how a run that is ended at once goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"go on with: modctl tune --resume {shlex.quote(str(run))}")
        raise


def cache_folder() -> Path:
    """Where features are kept unless --cache says otherwise."""
    from moderation.training.cache import default_folder

    return default_folder()


def command_line() -> str:
    """The command as it was given, for the record."""
    return shlex.join(["modctl", *sys.argv[1:]])
