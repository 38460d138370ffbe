"""Deprecation warns whoever builds a training set with what is deprecated, once for each thing."""

from __future__ import annotations

import warnings
from pathlib import Path

import pyarrow as pa
import pytest

from asof import (
    Deprecated,
    Entity,
    Events,
    FeatureService,
    FeatureView,
    InMemory,
    Label,
    Project,
    count,
    request_feature,
    sum,
)
from asof.define.deprecated import DeprecatedDefinition
from asof.define.kinds import Definition
from asof.flows.deprecations import warn_deprecated
from tests.flows.conftest import ROWS, spine_of

OLD = Deprecated("2027-01-31", use="new")
account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", InMemory(ROWS), event_time="at")
plain = FeatureView(
    "plain", entity=account, source=tx,
    features=[count().over("1h", "1d"), sum("amount").over("1d").deprecated("2026-12-31", note="use cents")],
)  # fmt: skip


@request_feature(inputs=[plain["amount_sum_1d"]], deprecated=OLD)
def twice(amount_sum_1d):
    """Two times."""
    return 2 * amount_sum_1d


def said(*used: Definition) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_deprecated(used)
    assert {each.category for each in caught} <= {DeprecatedDefinition}
    return [str(each.message) for each in caught]


def test_nothing_is_said_of_what_is_not_deprecated_or_not_asked_for() -> None:
    assert said(FeatureService("s", [plain["count_1d"]])) == []


def test_a_deprecated_feature_is_told_where_it_is_asked_for() -> None:
    assert said(FeatureService("s", [plain])) == [
        "feature 'amount_sum_1d' of feature view 'plain' is deprecated from 2026-12-31: use cents"
    ]


def test_a_deprecated_request_feature_is_told_with_its_deprecated_input() -> None:
    assert said(FeatureService("s", [twice])) == [
        "request feature 'twice' is deprecated from 2027-01-31: use new",
        "feature 'amount_sum_1d' of feature view 'plain' is deprecated from 2026-12-31: use cents",
    ]


def test_everything_that_is_stood_on_is_told_once() -> None:
    old_account = Entity("account", keys={"account_id": "string"}, deprecated=OLD)
    old_tx = Events("tx", InMemory(ROWS), event_time="at", deprecated=OLD)
    old_view = FeatureView(
        "old", entity=old_account, source=old_tx, features=[count().over("1d", "7d")], deprecated=OLD
    )
    old_label = Label("label", entity=old_account, source=old_tx, horizon="1h", deprecated=OLD)
    assert said(FeatureService("s", [old_view], deprecated=OLD), old_label) == [
        f"{words} is deprecated from 2027-01-31: use new"
        for words in (
            "feature service 's'",
            "label 'label'",
            "feature view 'old'",
            "entity 'account'",
            "source 'tx'",
        )
    ]


def test_a_training_set_warns_its_caller(tmp_path: Path) -> None:
    del tmp_path
    spine = spine_of([("a", 3)])
    with pytest.warns(DeprecatedDefinition, match="'amount_sum_1d'") as caught:
        Project([plain]).training_set([plain], spine=spine)
    assert [each.filename for each in caught] == [__file__]
    assert Project([plain]).training_set([plain["count_1d"]], spine=spine).table.num_rows == 1


def test_the_warning_can_be_an_error_or_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecatedDefinition)
        with pytest.raises(DeprecatedDefinition):
            Project([plain]).training_set([plain], spine=spine_of([("a", 3)]))
        warnings.simplefilter("ignore", DeprecatedDefinition)
        made = Project([plain]).training_set([plain], spine=spine_of([("a", 3)]))
    assert isinstance(made.table, pa.Table)
