"""Whatever the OpenAPI document allows, and what it does not: the front never answers by a 5xx.

Schemathesis makes the requests from the document; the engine, its Redis and its front are whole.
"""

import contextlib
import itertools
import json
import random
from collections.abc import Iterator

import hypothesis
import schemathesis
from engine_run import EngineRun, demo, running
from hypothesis import strategies as st
from polling import wait_until
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation

ENDLESS = {"text/event-stream", "multipart/x-mixed-replace"}
"""Answers that never end by themselves; other tests follow those."""
EXAMPLES = 8
"""Requests of each kind per operation."""


def operations(run: EngineRun) -> Iterator[APIOperation]:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{run.port}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        answers = operation.definition.raw["responses"].values()
        if not ENDLESS & {kind for one in answers for kind in one.get("content", {})}:
            yield operation


def known_names(run: EngineRun) -> st.SearchStrategy[dict[str, str]]:
    """Return what to put into paths: now and then something that is there."""
    wait_until(lambda: ids(run), 10.0, "the posted plate is stored")
    return st.sampled_from([{}, {"name": "demo", "sighting_id": ids(run)[0], "plate": "AB1"}])


def ids(run: EngineRun) -> list[str]:
    return [one["id"] for one in json.loads(run.get("/api/v1/sightings"))["sightings"]]


def statuses_of(
    operation: APIOperation, mode: GenerationMode, known: st.SearchStrategy, seed: int
) -> set[int]:
    """Send some requests to one operation; return how they were answered."""
    statuses = set()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), real=known)
    def asked(case, real) -> None:
        if case.method != "DELETE":  # what is there stays for the others
            for name in set(case.path_parameters or {}) & set(real):
                case.path_parameters[name] = real[name]
        case.headers.pop("Authorization", None)  # an invented key is refused; here none is needed
        response = case.call(timeout=20)
        statuses.add(response.status_code)
        assert response.status_code < 500, (case.as_curl_command(), response.text)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing about it can be wrong
        asked()
    return statuses


def test_no_request_is_answered_by_a_5xx(tmp_path, rng: random.Random):
    with running(tmp_path, demo(camera="fps = 2", scene="&width=320&height=180")) as run:
        run.post("/alpr_data", b'{"plate": "AB12CDE"}')
        known = known_names(run)
        for mode, wanted in ((GenerationMode.POSITIVE, 200), (GenerationMode.NEGATIVE, 400)):
            answered = {
                one.label: statuses_of(one, mode, known, rng.getrandbits(32))
                for one in operations(run)
            }
            assert len(answered) > 25
            tried = set(itertools.chain.from_iterable(answered.values()))
            assert tried >= {wanted, 404}, answered
        run.stop()
