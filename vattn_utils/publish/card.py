"""The model card of a record: `README.md`, as a person would write it, with every number taken from the record."""

import textwrap
from collections import Counter

from vattn_utils import __version__
from vattn_utils.maps.passport import all_recorded
from vattn_utils.models.classifier import Classifier
from vattn_utils.publish import litert, metadata
from vattn_utils.publish.example import MAPS, Example
from vattn_utils.training.records import Record
from vattn_utils.training.train import command

# Of each model its title, what it is, and its paper.
MODELS = {
    "vit": (
        "ViT", "a vision transformer, in which every patch looks at every other",
        "Dosovitskiy et al., [*An Image is Worth 16x16 Words*](https://arxiv.org/abs/2010.11929), 2021",
    ),
    "eanet": (
        "EANet", "a transformer whose patches look into learned memories instead of at each other",
        "Guo et al., [*Beyond Self-attention*](https://arxiv.org/abs/2105.02358), 2021",
    ),
    "patch_convnet": (
        "PatchConvNet", "a convolutional network that is read by attention: a learned query asks all patches",
        "Touvron et al., [*Augmenting Convolutional Networks with Attention-based Aggregation*]"
        "(https://arxiv.org/abs/2112.13692), 2021",
    ),
}  # fmt: skip
VARIANTS = {
    "book": "the book's own variant",
    "keras-io": "the variant of keras.io's example, with its defects mended",
    "paper": "the paper's variant",
}
KINDS = {
    "self": "self-attention, token to token",
    "external": "external attention, token to memory slot",
    "pooling": "attention pooling, query to patch",
}


def text(record: Record, model: Classifier, example: Example, repository: str | None = None) -> str:
    """The card of a record, whole: what it is, how to use it, training, results, worth of its maps, limits, citation.

    Args:
        model: the record's.
        example: what `example.example` made of it.
        repository: "OWNER/NAME" of the place on the Hub where the card will stand, if it is known.

    Raises `PublishError` if its head lacks something.
    """
    head = metadata.of_record(record)
    metadata.check(head, record)
    parts = [
        f"---\n{metadata.to_yaml(head)}---",
        _what(record, model, example),
        _use(record, model, example, repository),
        _training(record),
        _results(record),
        _worth(record, example.method),
        _limits(record),
        _files(record, model),
        _citation(record),
    ]
    return "\n\n".join(parts) + "\n"


def title(record: Record) -> str:
    """What the record is called for readers, for example "EANet on CIFAR-100"."""
    return f"{MODELS[record.kind][0]} on {metadata.TITLES.get(record.dataset, record.dataset)}"


def _what(record: Record, model: Classifier, example: Example) -> str:
    name, is_a, paper = MODELS[record.kind]
    layers = Counter(kind for kind, _ in model.attention_layers)
    attention = ", then ".join(f"{count} × {KINDS[kind]}" for kind, count in layers.items()) or "none"
    if record.config.get("attention") == "self":
        is_a += "; here its twin, with self-attention in their place"
    begun = f"on the encoder of `{record.base_name}`, kept as it was" if record.base_run else "from scratch"
    rows, columns = model.grid
    alt = "; ".join(word["alt"].lower() for word in example.words)
    credit = "; ".join(f"{word['title'].lower()}, by {word['credit']} ({word['licence']})" for word in example.words)
    lead = _paragraph(f"""
        **{100 * record.metrics["top1"]:.2f} % of the test images right with {record.parameters:,} parameters.**
        {name} is {is_a} ({paper}). This one is the recorded run `{record.name}` of the book
        [*Attention in Vision*]({metadata.home()}): {VARIANTS[record.variant]}, trained {begun}.""")
    takes = _paragraph(f"""
        It takes pictures of {model.image_size} × {model.image_size} pixels, 0 to 255, sees {rows} × {columns} patches,
        and answers with logits for {record.config["num_classes"]} classes. Its attention: {attention}.
        [Its chapter]({_chapter(record)}) builds it layer by layer.""")
    shown = _paragraph(f"""
        What it says of two pictures, beside its map of them by {example.method}: {MAPS[example.method]}. Bright is
        more; one scale for both. Pictures: {credit}.""")
    return f"""# {title(record)}

{lead}

{takes}

![Two pictures, each beside itself under a heat map: {alt}](attention.png)

{shown}"""


def _paragraph(words: str, bullet: str = "") -> str:
    """`words` in lines of at most 120 characters, the first behind its bullet."""
    return textwrap.fill(
        " ".join(words.split()), 120, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _chapter(record: Record) -> str:
    return f"{metadata.home()}/blob/main/book/{record.kind}.ipynb"


def _use(record: Record, model: Classifier, example: Example, repository: str | None) -> str:
    names, answer = metadata.class_names(record), example.answers[0]
    fetch = f"\nhf download {repository} --local-dir {record.name} && cd {record.name}" if repository else ""
    return f"""## Use it

In the folder of these files, with [Keras 3](https://keras.io) on TensorFlow, JAX or PyTorch:

```shell
pip install "vattn-utils @ git+{metadata.home()}"{fetch}
```

```python
import json, keras
from vattn_utils import data, models  # models has the layers that the file names

model = keras.saving.load_model("model.keras")
picture = data.read_picture("{example.words[0]["file"]}", model.image_size)  # any file, address or array
print(json.load(open("labels.json"))[model.predict(picture, verbose=0).argmax()])  # {names[answer]}
```

And where it looked, a number for each patch:

```python
from vattn_utils.maps import attribution

print(attribution.METHODS["{example.method}"](model, picture, [{answer}])[0].shape)  # {model.grid}
```

`model(pictures, return_attention=True)` gives logits and the attention of every layer."""


def _training(record: Record) -> str:
    made_on, recipe = record.provenance, record.recipe
    rows = [f"| {name} | {value} | {meaning} |" for name, value, meaning in recipe.table()]
    which = "the best one on them" if recipe.select == "best" else "the last one"
    said = _paragraph(f"""
        {record.all_of("epochs")} epochs, {record.all_of("images_seen")} images seen, {record.seconds / 3600:.2f} hours
        on {made_on["device"]} with {made_on["backend"]} in {made_on["precision"]}, seed {recipe.seed}, finished
        {made_on["date"]}. {recipe.validation:,} training images were held out; the weights are those of epoch
        {record.selected_epoch}, {which}, rounded to half precision. Loss, accuracy and learning rate, epoch by epoch,
        are in [tensorboard](tensorboard): `tensorboard --logdir tensorboard`. To train it again:""")
    return f"""## Training

{said}

```shell
{command(record)}
```

<details><summary>The recipe</summary>

| field | value | meaning |
|---|---|---|
{chr(10).join(rows)}

</details>"""


def _results(record: Record) -> str:
    count = metadata.TEST_IMAGES.get(record.dataset)
    shown = {"loss": f"{record.metrics['loss']:.4f}"}
    shown |= {name: f"{100 * share:.2f} %" for name, share in record.metrics.items() if name != "loss"}
    rows = [f"| {name} | {shown[metric]} |" for metric, (_, name) in metadata.METRICS.items()]
    rounding = (
        "" if record.rounding is None else f" Rounding them changed top-1 by {100 * record.rounding:+.2f} points."
    )
    return f"""## Results

| on {f"all {count:,}" if count else "all"} test images | |
|---|---:|
{chr(10).join(rows)}

Measured with the weights as they are here.{rounding} One run, one seed: another seed gives another number."""


def _worth(record: Record, method: str) -> str:
    passports = [one.sentence() for one in all_recorded() if one.record == record.name]
    if not passports:
        return f"""## What its maps are worth

Nobody has measured it for this run. Do not read a map as "where it looked" before you did:

```shell
python -m vattn_utils faithfulness --record {record.name} --method "{method}"
```"""
    said = "\n".join(_paragraph(sentence, "- ") for sentence in passports)
    told = _paragraph(f"""
        A map claims that some patches matter. Here patches were removed in the map's order, the first ones first and
        the last ones first; the difference of what was left of the answer is what the map knows. A map that knows
        nothing scores 0, and a map that stays as it is when all weights are drawn anew (a rank correlation near 1) says
        nothing about the model. [Can you trust the map?]({metadata.home()}/blob/main/book/faithfulness.ipynb) says
        how it is measured, and what fails.""")
    return f"""## What its maps are worth

{told}

{said}"""


def _limits(record: Record) -> str:
    size = record.config["image_size"]
    seen = f"""It was trained on pictures of {size} × {size} pixels. A larger one is cut to its central square and
        made as small; what is not large in it is gone."""
    if record.dataset.startswith("shapes"):
        seen = "It was trained on drawn shapes alone, and knows nothing of photographs."
    limits = (
        f"""It knows {record.config["num_classes"]} classes, and gives one of their names to every picture, a face or a
        page of text too, often with much confidence.""",
        seen,
        """A token stands for more than its patch, since layers mix neighbours. A map is worth what stands above, on
        pictures like those, and no more.""",
        "It is made to be looked into, and to learn from. Decide nothing about people or safety with it.",
    )
    return "## Limits\n\n" + "\n".join(_paragraph(limit, "- ") for limit in limits)


def _files(record: Record, model: Classifier) -> str:
    shape = f"`(1, {model.image_size}, {model.image_size}, 3)`"
    layers = [f"`attention_{index}`" for index, _ in enumerate(model.attention_layers)]
    outputs = " and ".join(["`logits`", *([" to ".join(dict.fromkeys([layers[0], layers[-1]]))] if layers else [])])
    whole = f", with the encoder of `{record.base_name}`" if record.base_run else ""
    about = {
        "model.keras": "the model for Keras 3, float32; loads with `safe_mode=True` after `import vattn_utils.models`",
        "model.tflite": f"the same for LiteRT: `images` {shape}, float32, 0 to 255, in; {outputs} out, "
        f"within {litert.BOUND:g} of Keras",
        "model.safetensors": f"the weights, float16, under the names of their variables{whole}",
        "labels.json": "the names of the classes, in the order of the logits",
        "record.json": "the run: configuration, recipe, history, versions, commit, digests of data and weights",
        "tensorboard": "the history as TensorBoard reads it",
        "LICENSE": "Apache-2.0, for weights and code",
    }
    rows = "\n".join(f"| [{name}]({name}) | {what} |" for name, what in about.items())
    return f"## Files\n\n| file | what it is |\n|---|---|\n{rows}"


def _citation(record: Record) -> str:
    _, _, paper = MODELS[record.kind]
    entry = f"""\
        @misc{{attention_in_vision,
          title  = {{Attention in Vision}},
          author = {{{{The authors of Attention in Vision}}}},
          year   = {{{record.provenance["date"][:4]}}},
          note   = {{Version {__version__}, run {record.name}}},
          url    = {{{metadata.home()}}}
        }}"""
    return f"""## Citation

```bibtex
{textwrap.dedent(entry)}
```

The architecture is that of {paper}."""
