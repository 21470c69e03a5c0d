from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldtune.data.locking import lock_test_rows
from foldtune.data.preprocess import fit_fold, fit_folds
from foldtune.data.splitters import make_folds
from foldtune.errors import DataError
from foldtune.spec.schema import PreprocessingSpec
from foldtune.testing.leak_laws import check_no_leak, scrambled
from foldtune.testing.splitter_laws import check_groups, check_partition, check_rows, check_times

from .makers import read

ADULT = {"table": "adult/adult.data.gz", "header": None, "skipinitialspace": True, "na_values": "?", "target": 14}
SICK = {"table": "sick/sick.arff", "header": None, "skiprows": 110, "na_values": "?", "comment": "%", "target": 29}


def test_adult(shared_data: Path) -> None:
    data = read(shared_data, **ADULT)
    assert data.numeric.shape == (32561, 6) and data.categorical.shape == (32561, 8)
    assert np.equal(data.categorical, np.array(None)).sum() == 4262
    assert np.bincount(data.target).tolist() == [24720, 7841] and data.classes == ("<=50K", ">50K")
    folds = make_folds(data, None, 0)
    check_partition(folds, data.n_rows)
    made = fit_fold(data, PreprocessingSpec(), folds[0])
    assert made.cardinalities[data.categorical_names.index("9")] == 4, "missing, unseen, Female, Male"
    check_no_leak(data, scrambled(data, folds[0].valid, 0), spec=PreprocessingSpec(), fold=folds[0])


def test_penguins(shared_data: Path) -> None:
    data = read(shared_data, table="penguins/penguins.csv", target="species")
    assert data.classes == ("Adelie", "Chinstrap", "Gentoo") and data.categorical_names == ("island", "sex")
    assert int(np.isnan(data.numeric).sum() + np.equal(data.categorical, np.array(None)).sum()) == 19
    development, locked = lock_test_rows(data, 0.2, 0)
    rest = data.take(development)
    folds = make_folds(rest, None, 0)
    assert len(locked) == 69 and {fold.numeric.shape for fold in fit_folds(rest, PreprocessingSpec(), folds)} == {
        (275, 4)
    }


def test_sick(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"no feature may be missing in every row, however: `27`\. Leave it out"):
        read(shared_data, **SICK)
    data = read(shared_data, **SICK, drop=[27])
    assert data.n_rows == 3772 and np.bincount(data.target).tolist() == [3541, 231]
    folds = make_folds(data, None, 0)
    made = fit_folds(data, PreprocessingSpec(), folds)
    assert all(np.isfinite(fold.numeric).all() for fold in made)
    assert all(np.abs(np.bincount(data.target[fold.valid])[1] - 46.2) < 1 for fold in folds)


def test_parkinsons_by_subject(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "parkinsons" / "parkinsons.data")
    table["subject"] = table.pop("name").str.rsplit("_", n=1).str[0]
    data = read(shared_data, table=table, target="status", group="subject")
    assert data.groups is not None and data.groups.max() == 31 and data.numeric.shape == (195, 22)
    folds = make_folds(data, None, 0)
    check_groups(folds, data.groups)
    check_partition(folds, 195)
    development, locked = lock_test_rows(data, 0.2, 0)
    assert not np.intersect1d(data.groups[development], data.groups[locked]).size
    with pytest.raises(DataError, match=r"rows of one group must stay together, .* however: 32 groups"):
        make_folds(data, "StratifiedKFold", 0)


def test_telemonitoring_by_subject(shared_data: Path) -> None:
    data = read(
        shared_data, table="parkinsons_telemonitoring/*.gz", sep="\t", target="total_UPDRS", group="subject#",
        drop=["motor_UPDRS"],
    )  # fmt: skip
    folds = make_folds(data, None, 0)
    assert data.groups is not None and data.task == "regression" and data.numeric.shape == (5875, 19)
    check_groups(folds, data.groups)


def test_concrete(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"The column is called 'Blast_Furnace_Slag ': write it exactly so"):
        read(
            shared_data, table="concrete/Concrete_Data.csv", target="compressive_strength", drop=["Blast_Furnace_Slag"]
        )
    data = read(shared_data, table="concrete/Concrete_Data.csv", target="compressive_strength")
    assert data.task == "regression" and data.numeric.shape == (1030, 8) and data.numeric_names[0] == "Cement"
    folds = make_folds(data, None, 0)
    means = [data.target[fold.valid].mean() for fold in folds]
    assert max(means) - min(means) < 0.25, "quantile-stratified folds are alike (the standard deviation is 16.7)"
    check_no_leak(data, scrambled(data, folds[2].valid, 0), spec=PreprocessingSpec(), fold=folds[2])


def test_bike_sharing_in_time(shared_data: Path) -> None:
    section = {"target": "cnt", "time": "dteday", "drop": ["casual", "registered", "instant"]}
    data = read(shared_data, table="bike_sharing/hour.csv.gz", **section)
    folds = make_folds(data, None, 0)
    assert data.time is not None and data.task == "regression"
    check_times(folds, data.time)
    check_rows(folds, data.n_rows)
    assert lock_test_rows(data, 0.2, 0)[1][-1] == data.n_rows - 1


def test_missing_targets_are_counted(shared_data: Path) -> None:
    with pytest.raises(DataError, match="missing in 2067 of 43824 rows, the first 0, 1, 2, 3, 4"):
        read(shared_data, table="beijing_pm25/pollution.csv.gz", target="pm2.5")


@pytest.mark.parametrize(
    ("section", "shape", "classes"),
    [
        ({"table": "letter/letter-recognition.data.gz", "header": None, "target": 0}, (20000, 16), 26),
        ({"table": "online_shoppers/*.gz", "target": "Revenue"}, (12330, 15), 2),
        ({"table": "htru2/HTRU_2.csv.gz", "header": None, "target": -1}, (17898, 8), 2),
        ({"table": "abalone/abalone.csv", "header": None, "target": 8}, (4177, 7), 0),
    ],
)
def test_other_tables(section: dict[str, object], shape: tuple[int, int], classes: int, shared_data: Path) -> None:
    data = read(shared_data, **section)
    assert data.numeric.shape == shape and len(data.classes) == classes
