"""Every case of the table, over every door that has its operation: HTTP plain and as Java does, WebSocket, MsgTrans."""

import pytest
from cases import Case, Json
from cases_cluster import CLUSTER_CASES
from cases_discovery import DISCOVERY_CASES
from cases_management import MANAGEMENT_CASES
from cases_registry import REGISTRY_CASES
from machines import Machine
from matching import difference
from ways import DOORS, WEBSOCKETS, WebSocketHeartbeat, open_way

CASES = (*REGISTRY_CASES, *DISCOVERY_CASES, *CLUSTER_CASES, *MANAGEMENT_CASES)
ON_DOORS = [(case, door) for case in CASES for door in DOORS]
ON_WEBSOCKETS = [
    (case, door) for case in CASES if case.path == WebSocketHeartbeat.PATH and case.websocket for door in WEBSOCKETS
]


def test_every_case_has_a_name_of_its_own():
    """A failing case is found by its name."""
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(("case", "door"), ON_DOORS, ids=[f"{case.name} [{door}]" for case, door in ON_DOORS])
async def test_case(serve, case: Case, door: str):
    """The answer has what the specification states, on this door as on all."""
    await run(serve, case, door)


@pytest.mark.parametrize(("case", "door"), ON_WEBSOCKETS, ids=[f"{case.name} [{door}]" for case, door in ON_WEBSOCKETS])
async def test_case_over_websocket(serve, case: Case, door: str):
    """A heartbeat over WebSocket is answered as over HTTP."""
    await run(serve, case, door)


async def run(serve, case: Case, door: str) -> None:
    """Prepare a node, call it, compare."""
    async with serve(untouched=case.untouched, **case.options) as server:
        if isinstance(server, Machine) and case.one_process:
            pytest.skip(f"it is about one process: {case.one_process}")
        way = await open_way(door, server)
        try:
            if case.prepare is not None:
                case.prepare(server)
            answers: list[Json] = []
            for call in case.before:
                answers.append(await way.call(call.path, _made(call.request, answers)))
            answer = await way.call(case.path, _made(case.request, answers))
        finally:
            await way.close()
    assert "" == difference(case.expected, answer), f"spec {case.spec}"


def _made(request: object, answers: list[Json]) -> object:
    return request(answers) if callable(request) else request
