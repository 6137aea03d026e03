"""Many drawn schemas: gate against JSON Schema, and verdicts of compatibility against documents.

The seed is printed; with SCHEMA_SEED it is given, and SCHEMA_EXAMPLES says how many are drawn.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from coldseal.core.coldchain.compatibility import Mode, compare
from coldseal.core.coldchain.forms import fits
from coldseal.core.coldchain.schema import Schema
from tests.campaigns.figures import say
from tests.core.coldchain.drawn import documents, near, pairs, schemas
from tests.core.coldchain.test_compatibility import lenient
from tests.gateway.sources.test_gates import require_equal

pytestmark = pytest.mark.soak

SEED = int(os.environ.get("SCHEMA_SEED", "0")) or Random().randrange(1, 2**32)
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5000"))
MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(3600)
def test_gates_and_json_schemas_decide_alike() -> None:
    """Ten documents for each schema."""
    counted: Counter[str] = Counter()

    @seed(SEED)
    @MANY
    @given(st.data(), schemas())
    def run(data: st.DataObject, schema: Schema) -> None:
        counted["schemas"] += 1
        for _ in range(10):
            payload = msgspec.json.encode(data.draw(near(schema.form)))
            counted["taken" if require_equal(schema, payload) else "refused"] += 1

    run()
    say(f"schemas, seed {SEED}: {dict(counted)}")
    assert min(counted["taken"], counted["refused"]) > EXAMPLES // 10


@pytest.mark.timeout(3600)
def test_no_document_contradicts_a_verdict() -> None:
    """In both directions."""
    counted: Counter[str] = Counter()

    @seed(SEED)
    @MANY
    @given(st.data(), pairs())
    def run(data: st.DataObject, pair: tuple[Schema, Schema]) -> None:
        old, new = pair
        verdict = compare(old, new)
        counted["pairs"] += 1
        for mode, sent, taken in (
            (Mode.BACKWARD, old.form, new.form),
            (Mode.FORWARD, new.form, lenient(old.form)),
        ):
            if verdict.is_compatible(mode):
                counted[mode.value] += 1
                for document in data.draw(st.lists(documents(sent), max_size=5)):
                    if fits(sent, document):
                        counted["documents"] += 1
                        assert fits(taken, document), (mode, document)

    run()
    say(f"schemas, seed {SEED}: {dict(counted)}")
    assert min(counted[mode.value] for mode in (Mode.BACKWARD, Mode.FORWARD)) > EXAMPLES // 10
