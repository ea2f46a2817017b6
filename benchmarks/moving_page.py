"""docs/moving-from-tf-data.md: the code of `benchmarks.steps` as it was run, and what each step cost."""

from __future__ import annotations

import inspect
from typing import Any

from benchmarks import figures
from benchmarks.figures import ratio, spread, turns_of
from benchmarks.tables import shown_spread, table

_TEXT = """\
# Moving from tf.data

From a dataset in memory to one that lives elsewhere, step by step, with what each step costs the trainer. The code below is
[benchmarks/steps.py](../benchmarks/steps.py), which `make bench` runs; the figures are from the run on
[the page of benchmarks](benchmarks.md), on {cores} cores that the server shares with the trainer.

{summary}

All of them give shuffled batches of 32 images, 224x224x3 uint8, from the same JPEGs of about 500x375, without end; train with
`model.fit(dataset, epochs=..., steps_per_epoch=...)`. These helpers are common to them:

```python
{helpers}
```

## 1. `from_tensor_slices`: everything in memory

```python
{in_memory}
```

Nothing is as fast, for as long as the data fit: {in_memory_rate} images/s, for {in_memory_cpu} us of the trainer's CPU an image.
A million images of this size are 150 GB.

## 2. `from_tensor_slices` of paths, and `map`

```python
{paths_and_map}
```

The usual answer. The trainer decodes: {paths_and_map_cpu} us of its CPU an image, and {paths_and_map_rate} images/s, which is
all that its cores can do. `tf.image.resize` does not antialias unless asked to.

## 3. `from_generator`, because the data live elsewhere

```python
{generator}
```

`read` may be a call to a store, a database or another host, and that is why one writes a generator. It costs: one image at a
time goes through Python, on one core, {generator_rate} images/s for {generator_cpu} us an image. {slow_generator}

## 4. The same with a preloading thread

```python
{generator_with_thread}
```

What is commonly advised. The thread decodes while the generator yields, but every image still crosses Python and is copied
into its batch: {generator_with_thread_rate} images/s, {generator_with_thread_cpu} us. {slow_thread}

## 5. headrace

Where the images are, or on any machine that has cores to spare:

    pip install "headrace[server]"
    headrace serve ./flowers

And in the training job:

```python
{from_headrace}
```

{from_headrace_rate} images/s{gain}, and {from_headrace_cpu} us of the trainer's CPU an image{saving}: finished batches come over
HTTP, and TensorFlow adopts their memory. Here the server had to share the trainer's cores; on a machine of its own the trainer
keeps all of its own. {slow_headrace}

With `to_tf()` in place of `to_tf(repeat=True)` a pass is one epoch, and `model.fit(train.to_tf(), epochs=3)` needs no more
arguments. What a generator never gave comes with it: every image exactly once an epoch, in an order that
`train.state_dict()` resumes exactly; the same order for any number of ranks (`rank=`, `world_size=`); labels and keys beside
the images; random augmentation that is the same again for the same seed.
"""

_LABELS = {
    "in_memory": "1. `from_tensor_slices` in memory",
    "paths_and_map": "2. `from_tensor_slices` of paths, `map`",
    "generator": "3. `from_generator`",
    "generator_with_thread": "4. with a preloading thread",
    "from_headrace": "5. headrace, `to_tf`",
}


def page(results: dict[str, Any]) -> str:
    """The page. Raises KeyError where a step has no figures in this run."""
    from benchmarks import steps

    turns = {name: turns_of(results, "moving", name) for name in _LABELS}
    words: dict[str, str] = {"cores": results["machine"]["cores"], "summary": _summary(turns)}
    for name, found in turns.items():
        words[name] = inspect.getsource(getattr(steps, name)).strip()
        words[f"{name}_rate"] = f"{spread(found, figures.images_per_second).median:,.0f}"
        words[f"{name}_cpu"] = f"{spread(found, figures.cpu_us_per_image).median:,.0f}"
    ours = turns["from_headrace"]
    rate = ratio(ours, turns["generator"], figures.images_per_second).median
    cpu = ratio(turns["paths_and_map"], ours, figures.cpu_us_per_image).median
    words["gain"] = f", {rate:.1f} times the generator's"
    words["saving"] = f", a {cpu:.0f}th of what decoding on the trainer takes"
    words["helpers"] = _helpers(inspect.getsource(steps))
    words["slow_generator"] = _slow(results, "generator", "With 100 ms of latency a read it is {} images/s.")
    words["slow_thread"] = _slow(
        results, "generator_thread", "And it still reads one image at a time: with 100 ms a read, {}."
    )
    words["slow_headrace"] = _slow(
        results,
        "headrace_tf_slow",
        "With 100 ms of latency a read it is {} images/s, since the server has hundreds of reads in flight.",
    )
    return _TEXT.format(**words)


def _summary(turns: dict[str, list[figures.Turn]]) -> str:
    rows = [
        [
            _LABELS[name],
            shown_spread(spread(found, figures.images_per_second), lambda value: f"{value:,.0f}"),
            shown_spread(spread(found, figures.cpu_us_per_image), lambda value: f"{value:,.0f}"),
        ]
        for name, found in turns.items()
    ]
    return table(["step", "images/s", "trainer CPU, us/image"], rows)


def _helpers(source: str) -> str:
    """What stands in the module before the first step: imports and helpers."""
    before = source.partition("def in_memory")[0]
    return before.partition("from __future__ import annotations\n")[2].strip()


def _slow(results: dict[str, Any], contender: str, sentence: str) -> str:
    """A sentence on slow storage, or none where the run has no figures for it."""
    try:
        found = spread(turns_of(results, "slow", contender), figures.images_per_second)
    except KeyError:
        return ""
    return sentence.format(f"{found.median:,.0f}")
