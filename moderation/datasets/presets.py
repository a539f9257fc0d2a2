"""Published data sets that are known by the shape of their folders: where each shape was read, and its reader.

Presets are for measuring: only the split that a publication reports on is read unless another is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moderation.datasets import antifakeprompt
from moderation.datasets.labelled import SPLITS
from moderation.datasets.layout import Layout, PresetData, plain, read_layout
from moderation.errors import ConfigurationError

# github.com/GenImage-Dataset/GenImage, Readme.md: <generator>/{train,val}/{ai,nature}. As unpacked, the archives put
# one more folder in between (data/corrupted_files/*.txt there), which some keep and some use as the generator's name.
GENIMAGE = Layout(
    name="genimage",
    sets=("Midjourney", "SDv1.4", "SDv1.5", "ADM", "GLIDE", "Wukong", "VQDM", "BigGAN"),
    scored="val",
    tree="ROOT/<generator>/[<archive>/]{train,val}/{ai,nature}",
    aliases={
        plain(alias): name
        for name, aliases in {
            "Midjourney": ("imagenet_midjourney",),
            "SDv1.4": ("stable_diffusion_v_1_4", "Stable Diffusion V1.4", "imagenet_ai_0419_sdv4", "SD14"),
            "SDv1.5": ("stable_diffusion_v_1_5", "Stable Diffusion V1.5", "imagenet_ai_0424_sdv5", "SD15"),
            "ADM": ("imagenet_ai_0508_adm",),
            "GLIDE": ("imagenet_glide",),
            "Wukong": ("imagenet_ai_0424_wukong",),
            "VQDM": ("imagenet_ai_0419_vqdm",),
            "BigGAN": ("imagenet_ai_0419_biggan",),
        }.items()
        for alias in aliases
    },
)

_LAION_SETS = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle")
# github.com/WisconsinAIVision/UniversalFakeDetect, README.md and dataset_paths.py: datasets/test/<set>/[<category>/]
# {0_real,1_fake}, and diffusion_datasets/<set>/1_fake held against imagenet/0_real (guided) or laion/0_real (others).
UNIVERSALFAKEDETECT = Layout(
    name="universalfakedetect",
    sets=(
        "progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "seeingdark", "san", "crn",
        "imle", "guided", *_LAION_SETS,
    ),
    scored="test",
    tree="ROOT/<set>/[<category>/]{0_real,1_fake}, with imagenet/0_real and laion/0_real for the diffusion sets",
    aliases={"sitd": "seeingdark"},
    containers=("datasets", "dataset", "diffusion_datasets", "cnn_synth_testset"),
    real_of={"guided": "imagenet", **dict.fromkeys(_LAION_SETS, "laion")},
)  # fmt: skip

# github.com/HorizonTEL/AIGIBench, README.md: test/<set>/{0_real,1_fake}; the 25 names as in its detector_codes/*/
# test_config.py. Its README also writes Midjourney-V6, and ImSwap for InSwap.
AIGIBENCH = Layout(
    name="aigibench",
    sets=(
        "BlendFace", "BLIP", "CommunityAI", "DALLE-3", "E4S", "FaceSwap", "FLUX1-dev", "GLIDE", "Imagen3",
        "Infinite-ID", "InstantID", "InSwap", "IP-Adapter", "Midjourney", "PhotoMaker", "ProGAN", "R3GAN", "SD3",
        "SDXL", "SimSwap", "SocialRF", "StyleGAN-XL", "StyleGAN3", "StyleSwim", "WFIR",
    ),
    scored="test",
    tree="ROOT/[test/]<set>/{0_real,1_fake}",
    aliases={"midjourneyv6": "Midjourney", "imswap": "InSwap"},
    containers=("aigibench",),
)  # fmt: skip

_LAYOUTS = {layout.name: layout for layout in (GENIMAGE, UNIVERSALFAKEDETECT, AIGIBENCH)}
PRESETS = (antifakeprompt.NAME, *_LAYOUTS)


def read_preset(root: Path, name: str, splits: Sequence[str] | None = None) -> PresetData:
    """What of the published data set lies below `root`. `splits`: of 'train', 'val', 'test'; None = the reported one.

    Raises ConfigurationError for an unknown preset or split, and where nothing of it is found.
    """
    if name not in PRESETS:
        raise ConfigurationError("preset", f"{name!r} is none", hint=f"one of {', '.join(PRESETS)}")
    strange = [split for split in splits or () if split not in SPLITS]
    if strange:
        raise ConfigurationError("split", f"{strange[0]!r} is none", hint=f"one of {', '.join(SPLITS)}")
    if name == antifakeprompt.NAME:
        if splits is not None and antifakeprompt.SPLIT not in splits:
            raise ConfigurationError("split", f"{name} has only test pictures", hint="leave the split out")
        return antifakeprompt.read(root)
    return read_layout(root, _LAYOUTS[name], splits)
