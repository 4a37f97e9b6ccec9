"""The tables of the FSR paper (Tong et al., arXiv 2602.05809) as runs of lmms-eval: what is asked of which model.

Reported numbers are the paper's averages, percent of the unpruned model kept. Questions are about so many, as their
authors state.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsr.errors import InvalidInput
from fsr.vlm.catalogue import CATALOGUE

# Of a GPU of the A100's class, assumed: nobody has measured them here.
OPERATIONS = 100e12  # a second, a third of the peak in half precision
DECODE_S = 0.025  # a token; the paper's Table 7 has 22 to 24 ms on an RTX 3090
NEW_TOKENS, TEXT = 3, 64
AROUND_S, CLIP_S = 0.1, 3.0  # a question's picture or clip: opened, encoded, pruned


@dataclass(frozen=True)
class Task:
    """One benchmark. name: in lmms-eval. metrics: of it, added up. judge: whether an API scores it."""

    label: str
    name: str
    questions: int
    metrics: tuple[str, ...]
    judge: bool = False


@dataclass(frozen=True)
class Run:
    """A method and how much it keeps: `budget=192` or `keep=0.2`, empty with all. reported: the paper's average."""

    method: str
    amount: str = ""
    reported: float | None = None

    @property
    def name(self) -> str:
        return f"{self.method}-{self.amount.replace('=', '-')}" if self.amount else self.method

    def arguments(self, table: Table) -> str:
        """`--model_args` of lmms-eval."""
        amount = [self.amount] if self.amount else []
        return ",".join([f"pretrained={table.model}", *table.options, f"method={self.method}", *amount])


@dataclass(frozen=True)
class Table:
    """number: the paper's. visual: tokens of a usual picture or clip. note: what differs from the paper, or is
    not known of it."""

    number: int
    title: str
    model: str
    visual: int
    gpu: str
    tasks: tuple[Task, ...]
    runs: tuple[Run, ...]
    options: tuple[str, ...] = ()
    note: str = ""
    clips: bool = False

    def hours(self, runs: tuple[Run, ...] | None = None) -> float:
        """Of one GPU for these runs, by default all: estimated."""
        questions = sum(task.questions for task in self.tasks)
        around = CLIP_S if self.clips else AROUND_S
        return sum(questions * (around + self._answer_s(run)) for run in runs or self.runs) / 3600

    def _answer_s(self, run: Run) -> float:
        kind, _, amount = run.amount.partition("=")
        kept = self.visual if not kind else int(amount) if kind == "budget" else round(float(amount) * self.visual)
        operations = 2e9 * CATALOGUE[self.model].parameters * (kept + TEXT)
        return operations / OPERATIONS + NEW_TOKENS * DECODE_S


VQAV2 = Task("VQAv2", "vqav2_val", 214_354, ("exact_match",))
GQA = Task("GQA", "gqa", 12_578, ("exact_match",))
SQA = Task("SQA-IMG", "scienceqa_img", 2_017, ("exact_match",))
TEXTVQA = Task("TextVQA", "textvqa_val", 5_000, ("exact_match",))
POPE = Task("POPE", "pope", 9_000, ("pope_f1_score",))
MME = Task("MME", "mme", 2_374, ("mme_perception_score", "mme_cognition_score"))
MMB = Task("MMB-EN", "mmbench_en_dev", 4_329, ("gpt_eval_score",), judge=True)
MMB_CN = Task("MMB-CN", "mmbench_cn_dev", 4_329, ("gpt_eval_score",), judge=True)
MMVET = Task("MM-Vet", "mmvet", 218, ("gpt_eval_score",), judge=True)
PICTURES = (GQA, SQA, TEXTVQA, POPE, MME, MMB, MMB_CN, MMVET)
CLIPS = (
    Task("MMVU", "mmvu_val", 1_000, ("accuracy",), judge=True),
    Task("MMWorld", "mmworld", 1_559, ("mmworld_accuracy",)),
    Task("MLVU", "mlvu_test", 502, ("mlvu_percetion_score",)),
    Task("MVBench", "mvbench", 4_000, ("mvbench_accuracy",)),
    Task("Video-MME", "videomme", 2_700, ("videomme_perception_score",)),
    Task("Video-MME, subtitles", "videomme_w_subtitle", 2_700, ("videomme_perception_score",)),
)


def _runs(amounts: dict[str, dict[str, float | None]]) -> tuple[Run, ...]:
    pruned = (Run(method, amount, kept) for amount, of in amounts.items() for method, kept in of.items())
    return (Run("full", "", 100.0), *pruned)


TABLES = {
    table.number: table
    for table in (
        Table(
            1,
            "LLaVA-1.5-7B",
            "llava-hf/llava-1.5-7b-hf",
            576,
            "24 GB",
            (VQAV2, *PICTURES),
            _runs(
                {
                    "budget=192": {
                        "fastv": 88.0,
                        "sparsevlm": 95.2,
                        "dart": 97.8,
                        "holov": 96.5,
                        "vispruner": 98.2,
                        "cdpruner": 98.5,
                        "fsr": 99.1,
                    },
                    "budget=128": {
                        "fastv": 89.6,
                        "sparsevlm": 95.6,
                        "dart": 95.2,
                        "visionzip": 96.2,
                        "divprune": 96.2,
                        "holov": 96.1,
                        "vispruner": 96.7,
                        "cdpruner": 97.6,
                        "fsr": 98.3,
                    },
                    "budget=64": {
                        "fastv": 72.0,
                        "sparsevlm": 86.0,
                        "dart": 90.8,
                        "visionzip": 92.7,
                        "divprune": 93.3,
                        "holov": 92.9,
                        "vispruner": 93.5,
                        "cdpruner": 95.7,
                        "fsr": 96.1,
                    },
                }
            ),
        ),
        Table(
            2,
            "LLaVA-NeXT-7B",
            "llava-hf/llava-v1.6-vicuna-7b-hf",
            2880,
            "40 GB",
            (VQAV2, *PICTURES),
            _runs(
                {
                    "budget=960": {"holov": 91.7, "vispruner": 99.2, "cdpruner": 99.4, "fsr": 100.0},
                    "budget=640": {
                        "fastv": 94.4,
                        "divprune": 97.7,
                        "holov": 97.0,
                        "vispruner": 98.5,
                        "cdpruner": 99.3,
                        "fsr": 99.9,
                    },
                    "budget=320": {
                        "fastv": 74.9,
                        "divprune": 95.2,
                        "holov": 96.0,
                        "vispruner": 95.4,
                        "cdpruner": 97.3,
                        "fsr": 97.6,
                    },
                }
            ),
            ("mode=paper",),
            "2880 tokens are 2 x 2 tiles and the whole picture without newlines (`mode=paper`). The budget is for all "
            "tiles together; other releases give every tile the same share of it.",
        ),
        Table(
            3,
            "Qwen2.5-VL-7B",
            "Qwen/Qwen2.5-VL-7B-Instruct",
            1296,
            "40 GB",
            PICTURES,
            _runs(
                {
                    "keep=0.5": {"fastv": 92.0, "holov": 95.6, "fsr": 97.9},
                    "keep=0.4": {"fastv": 89.8, "holov": 94.2, "fsr": 96.4},
                    "keep=0.2": {"fastv": 84.6, "holov": 88.6, "fsr": 91.9},
                    "keep=0.1": {"fastv": 78.3, "holov": 82.1, "fsr": 84.0},
                }
            ),
            (),
            "The first group of the paper's table is headed 80 %, as the third is; by its place and numbers it is "
            "50 %. Pictures have as many tokens as their size asks for; hours are those of 1296.",
        ),
        Table(
            4,
            "LLaVA-Video-7B-Qwen2, 32 frames",
            "lmms-lab/LLaVA-Video-7B-Qwen2",
            32 * 169,
            "40 GB",
            CLIPS,
            _runs(
                {
                    "keep=0.5": {"holov": 99.2, "fsr": 100.3},
                    "keep=0.4": {"holov": 98.5, "fsr": 99.6},
                    "keep=0.3": {"holov": 98.2, "fsr": 98.9},
                    "keep=0.2": {"holov": 98.0, "fsr": 98.2},
                }
            ),
            ("frames=32",),
            "The paper's column of the long clips is a part of Video-MME's result. Which budget each frame gets is not "
            "stated in the paper; here it is for all frames together.",
            clips=True,
        ),
        Table(
            5,
            "LLaVA-1.5-13B",
            "llava-hf/llava-1.5-13b-hf",
            576,
            "40 GB",
            (VQAV2, *PICTURES),
            _runs(
                {
                    "budget=192": {"vispruner": None, "cdpruner": None, "fsr": None},
                    "budget=128": {"vispruner": None, "cdpruner": None, "fsr": None},
                    "budget=64": {"vispruner": None, "cdpruner": None, "fsr": 96.7},
                }
            ),
            (),
            "Of this table only FSR's average at 64 tokens is known to us: model and methods are a guess at the rest.",
        ),
        Table(
            6,
            "LLaVA-NeXT-13B",
            "llava-hf/llava-v1.6-vicuna-13b-hf",
            2880,
            "80 GB",
            (VQAV2, *PICTURES),
            _runs(
                {
                    "budget=960": {"holov": 98.1, "vispruner": 101.7, "cdpruner": 101.2, "fsr": 102.1},
                    "budget=640": {
                        "fastv": 97.7,
                        "visionzip": 100.7,
                        "divprune": 99.3,
                        "holov": 99.4,
                        "vispruner": 100.6,
                        "cdpruner": 100.8,
                        "fsr": 101.7,
                    },
                    "budget=320": {
                        "fastv": 85.3,
                        "visionzip": 97.2,
                        "divprune": 97.3,
                        "holov": 98.3,
                        "vispruner": 97.3,
                        "cdpruner": 99.0,
                        "fsr": 100.0,
                    },
                }
            ),
            ("mode=paper",),
            "As table 2.",
        ),
    )
}


def numbered(number: int) -> Table:
    """Raises InvalidInput for another number."""
    if number not in TABLES:
        raise InvalidInput(f"there is no table {number} of benchmarks; choose one of {', '.join(map(str, TABLES))}.")
    return TABLES[number]
