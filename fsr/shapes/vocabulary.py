"""The word-level tokenizer of the embedded model, shared by its language model and its text tower."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fsr.shapes.questions import PLURALS, THIRDS
from fsr.shapes.scenes import COLORS, SHAPES

PAD, UNK, BOS, EOS, IMAGE, VIDEO = "<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>"
SPECIAL = (PAD, UNK, BOS, EOS, IMAGE)
_GRAMMAR = """
user assistant : ? , . ' ! what which where how many is are there no any a an the of in on to does do can you see have
contain show present color colour shape object thing shapes objects things digit number written read count position part
kind tell me list describe picture image scene yes nothing s t it this that and or not with
left right above below under top bottom center
"""
# what questions about clips add, behind the rest, so that both models know a word by the same id
_CLIP_GRAMMAR = f"""
{VIDEO} clip video frame frames first last move moves moving go goes way direction up down appear appears disappear
disappears vanish vanishes turn turns become becomes change changes its overtake overtakes pass passes other faster than
anything something happens which during end beginning start after before new
"""


def words(clips: bool = False) -> list[str]:
    """Every token in the order of its id. clips: also those of questions about clips."""
    vocabulary = [*SPECIAL, *COLORS, *SHAPES, *PLURALS.values(), *map(str, range(10))]
    vocabulary += [w for row in THIRDS for place in row for w in place.split()] + _GRAMMAR.split()
    vocabulary += _CLIP_GRAMMAR.split() if clips else []
    return list(dict.fromkeys(vocabulary))


def build_tokenizer(
    clips: bool = False,
    vocabulary: Sequence[str] | None = None,
    before: Sequence[normalizers.Normalizer] = (),
) -> PreTrainedTokenizerFast:
    """Lower-cases, splits at spaces and punctuation, one token a word; unknown words become <unk>.

    vocabulary: other words than `words(clips)`. before: what else is done to lower-case text before it is split.
    """
    named_ids = {w: i for i, w in enumerate(vocabulary or words(clips))}
    core = Tokenizer(models.WordLevel(named_ids, unk_token=UNK))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *before])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    bos = core.token_to_id(BOS)
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    named = {"image_token": IMAGE, "video_token": VIDEO} if clips else {"image_token": IMAGE}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=named,
        model_max_length=2048,
        padding_side="left",
    )
