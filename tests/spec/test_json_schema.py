from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from foldtune.spec.json_schema import study_schema
from foldtune.spec.yaml import parse_yaml

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
ADULT = """
name: adult
data:
  table: ../data/adult.csv
  target: income
  task: classification
  drop: [fnlwgt]
  group: null
  test_fraction: 0.2
validation: {use: StratifiedKFold, n_splits: 5}
preprocessing:
  numeric: [{use: SimpleImputer, strategy: median}, {use: StandardScaler}]
  categorical: {min_frequency: 10}
objective: log_loss
metrics: [roc_auc, balanced_accuracy, {use: f1, average: macro}]
model:
  choice:
    - {use: MLP, n_blocks: {int: [1, 4]}, d_block: {int: [32, 512], log: true}, activation: {choice: [ReLU, GELU]},
       norm: {choice: [BatchNorm1d, null]}, dropout: {float: [0, 0.5]}}
    - {use: TabularResNet, n_blocks: {int: [1, 4]}, d_block: {int: [64, 256], log: true}}
loss: {use: CrossEntropyLoss, label_smoothing: {float: [0, 0.2]}}
optimizer:
  choice:
    - {use: AdamW, lr: {float: [1e-4, 1e-2], log: true}, weight_decay: {float: [1e-6, 1e-1], log: true}}
    - {use: SGD, lr: {float: [1e-3, 1], log: true}, momentum: {float: [0.5, 0.99]}, nesterov: true}
scheduler: {choice: [null, {use: CosineAnnealingLR}, {use: OneCycleLR}]}
regularization: {l1: 0, l2: 0, clip_norm: 1.0, clip_value: null, early_stopping: {patience: 10, min_delta: 0}}
training: {epochs: 50, batch_size: {choice: [64, 128, 256]}}
search: {trials: 100, timeout: 2h, patience: 40, seed: 0, enqueue: []}
"""
"""The example of the design: every section, as people write it."""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """An independent validator of the schema that is printed."""
    schema = study_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def tree(text: str) -> dict[str, Any]:
    return parse_yaml(text, "study.yaml")[0]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
def test_the_shipped_studies_are_valid(validator: Draft202012Validator, study: Path) -> None:
    assert [error.message for error in validator.iter_errors(tree(study.read_text()))] == []


def test_so_is_a_study_with_every_section(validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(tree(ADULT))] == []


@pytest.mark.parametrize(
    "section",
    [
        "validation: StratifiedKFold",
        "objective: [log_loss, {use: f1, average: macro}]",
        "scheduler: null",
        "scheduler: {choice: [null, StepLR]}",
        "loss: {choice: [MSELoss, {use: HuberLoss, delta: {float: [0.2, 2]}}]}",
        "training: {choice: {short: {epochs: 3}, long: {epochs: {int: [4, 9]}}}}",
        "regularization: {early_stopping: {patience: {int: [2, 3]}}}",
        "preprocessing: {numeric: {choice: {scaled: [StandardScaler], plain: []}}}",
        "preprocessing: {numeric: [{choice: [StandardScaler, MinMaxScaler]}], categorical: [OneHotEncoder]}",
        "preprocessing: {columns: [{columns: [age], steps: [StandardScaler]}]}",
        "search: {timeout: 90, sampler: TPESampler, pruner: {use: HyperbandPruner, max_resource: 9}}",
        "search: {enqueue: [{optimizer.lr: 0.1}]}",
        "search: {engine: lockstep, cohort: 1}",
        "data: {table: 'a.csv', target: [a, b], sep: ';', na_values: ['?']}",
        "model: {use: Sequential, layers: [{use: Linear, out_features: {int: [4, 8]}}, {choice: [ReLU]}, Linear]}",
        "model: {use: 'my.net:Net', anything: {nested: [1, {choice: [a, b]}]}}",
    ],
)
def test_what_people_may_write_is_valid(validator: Draft202012Validator, section: str) -> None:
    study = {**tree("name: a\ndata: {use: iris}\nmodel: MLP\n"), **tree(section)}
    assert [error.message for error in validator.iter_errors(study)] == []


@pytest.mark.parametrize(
    "section",
    [
        "optimiser: Adam",
        "training: {epoch: 3}",
        "training: {epochs: many}",
        "training: {epochs: {itn: [1, 3]}}",
        "training: {epochs: {int: [1, 3], lgo: true}}",
        "training: {epochs: {int: [1, 3], step: 0.5}}",
        "search: {trials: {int: [1, 2]}}",
        "search: {trails: 3}",
        "search: {engine: fast}",
        "search: {timeout: soon}",
        "data: {use: make_moons, noise: {float: [0, 1]}}",
        "validation: {use: KFold, n_splits: {int: [2, 3]}}",
        "objective: {choice: [log_loss, accuracy]}",
        "metrics: f1",
        "metrics: [{use: f1, average: {choice: [macro, micro]}}]",
        "optimizer: {use: SGD, lr: {float: [0.1, 1], logg: true}}",
        "optimizer: {use: SGD, lr: {float: [0.1]}}",
        "optimizer: {choice: [{use: SGD, lr: {float: [0.1]}}]}",
        "optimizer: {lr: 3}",
        "optimizer: 3",
        "scheduler: {choice: []}",
        "model: null",
        "model: {d_block: 3}",
        "model: {use: Sequential, layers: [{use: Linear, out_features: {int: [4]}}]}",
        "regularization: {early_stopping: {patiance: 3}}",
        "preprocessing: {categorical: {min_freq: 10}}",
        "augmentation: [RandomCrop]",
        "name: a b",
        "data: iris",
        "data: {}",
        "data: {use: iris, table: a.csv}",
    ],
)
def test_what_is_wrong_is_not_valid(validator: Draft202012Validator, section: str) -> None:
    study = {**tree("name: a\ndata: {use: iris}\nmodel: MLP\n"), **tree(section)}
    assert not validator.is_valid(study)


def test_name_data_and_model_are_required(validator: Draft202012Validator) -> None:
    assert len(list(validator.iter_errors({}))) == 3
