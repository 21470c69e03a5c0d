"""The benchmark of unlike nets: every way trains what it says, figures follow from times, and the page is written."""

import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import slices
from benchmarks.contenders.engines import plan_of
from benchmarks.slices import (
    ALL,
    BUCKET,
    COLUMNS,
    MIXES,
    QUICK,
    RANGE,
    VALUES,
    Mix,
    Net,
    Result,
    apart,
    config_of,
    document,
    equal,
    measure,
    of_each,
    padded,
    padded_to_widest,
    together,
)
from benchmarks.work import JOBS, Case
from foldtune.spec.schema import ConfigSpec


def test_nets_of_a_mix_differ_in_what_it_names_alone() -> None:
    for mix in MIXES:
        pack, varied = mix.pack(JOBS), {*mix.fields, *(["d_block"] if mix.widths else [])}
        seen = {field: {asdict(net)[field] for net in pack} for field in asdict(Net())}
        assert {field for field, values in seen.items() if len(values) > 1} == varied
        assert all(seen[field] == set(VALUES[field]) for field in mix.fields)
        low, high = mix.widths or (slices.WIDTH, slices.WIDTH)
        assert all(low <= net.d_block <= high for net in pack)
    assert len(set(Mix(ALL).pack(JOBS))) == len(set(Mix(widths=BUCKET).pack(JOBS))) == JOBS


@pytest.mark.parametrize("mix", MIXES)
def test_ways_without_padding_train_the_same_nets(mix: Mix) -> None:
    pack = mix.pack(JOBS)
    for way in (together, of_each, apart):
        trained = Counter[Net]()
        for part, share in way(pack).items():
            trained += Counter({net: count * share for net, count in Counter(part).items()})
        assert trained == Counter(pack)
    for part in (*of_each(pack), *equal(pack)):
        assert len(part) == JOBS and len(set(part)) == 1
    assert all(len(set(part)) == 1 for part in apart(pack))


@pytest.mark.parametrize("mix", [Mix(widths=BUCKET), Mix(widths=RANGE), Mix(ALL, RANGE)])
def test_padding_changes_widths_alone_and_no_further_than_the_bucket(mix: Mix) -> None:
    pack = mix.pack(JOBS)
    (wider,), (widest,) = padded(pack), padded_to_widest(pack)
    for net, own, whole in zip(pack, wider, widest, strict=True):
        assert net == replace(own, d_block=net.d_block) == replace(whole, d_block=net.d_block)
        assert net.d_block <= own.d_block < 2 * net.d_block and own.d_block.bit_count() == 1
        assert whole.d_block == max(net.d_block for net in wider)
    assert padded(wider) == {wider: 1.0}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in VALUES.items() for value in values])
def test_what_a_net_says_is_what_its_job_trains(field: str, value: object) -> None:
    plan = plan_of(Case("digits", 16, 32, trial_epochs=1))
    net = replace(Net(), d_block=48, **{field: value})  # type: ignore[arg-type]
    config = ConfigSpec.model_validate(config_of(plan, net, 3))
    assert config.model.node.items() >= {"d_block": 48, "n_blocks": net.n_blocks, "dropout": net.dropout}.items()
    assert (config.model.node["activation"], config.model.node["norm"]) == (net.activation, net.norm)
    assert (config.optimizer.node["use"], config.optimizer.node["lr"]) == (net.optimizer, pytest.approx(0.00175))
    assert (config.scheduler.node["use"] if config.scheduler else None) == net.scheduler
    assert (config.regularization.clip_norm, config.regularization.clip_value) == (net.clip_norm, net.clip_value)
    assert config.loss.node["label_smoothing"] == net.label_smoothing


def result_of(mix: Mix, *, unlike: float, alike: float) -> Result:
    """Two jobs; the machine is three times as slow in the second of three rounds."""
    pack = mix.pack(2)
    packs = {part for way in slices.WAYS for part in way(pack)}
    seconds = {part: [speed * (alike if len(set(part)) == 1 else unlike) for speed in (1, 3, 1)] for part in packs}
    return Result(mix, pack, seconds)


def test_the_page_holds_every_figure() -> None:
    mixes = (Mix(), Mix(("norm",)), Mix(widths=BUCKET, batch_size=128))
    text = document([result_of(mix, unlike=0.03, alike=0.02) for mix in mixes], "the command")
    assert "| nothing | 32 | 1 | 2.00 | 1.00 | 1.00 | 1.00-1.00 |  |  |  |" in text
    assert "| norm | 32 | 2 | 3.00 | 1.50 | 1.50 | 1.50-1.50 | 1.33 |  |  |" in text
    assert "| d_block 33 to 64 | 128 | 2 | 3.00 | 1.50 | 1.50 | 1.50-1.50 | 1.33 | 0.67 | 0.67 |" in text
    assert "slices are cheaper in 0 of 1 rows" in text
    assert "- Command: `the command`" in text
    faster = document([result_of(mix, unlike=0.01, alike=0.02) for mix in mixes], "the command")
    assert "takes 2.00 (d_block 33 to 64, batches of 128) to 2.00" in faster
    assert "slices are cheaper in 1 of 1 rows" in faster


def test_a_job_outside_of_the_pack_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "VALUES", {"optimizer": ("AdamW", "LBFGS")})
    with pytest.raises(RuntimeError, match=r"not packed: .*`LBFGS` has no stacked update rule"):
        measure(Mix(("optimizer",), batch_size=512), 2, 1)


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "SLICES.md"
    slices.main(["--quick", "--output", str(page)])
    text = page.read_text(encoding="utf-8")
    assert capsys.readouterr().out.count("\n") == len(QUICK)
    rows = re.findall(r"^\| (.*) \| 128 \| [12] \| (\d+\.\d\d) \| ", text, re.MULTILINE)
    assert [title for title, _ in rows] == [mix.title for mix in QUICK]
    assert all(float(milliseconds) > 0 for _, milliseconds in rows)
    assert f"| {' | '.join(COLUMNS)} |" in text and f"--quick --output {page}`" in text
