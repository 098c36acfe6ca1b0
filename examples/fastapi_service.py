"""A FastAPI service in the registry, and a page that asks another service.

uvicorn --port 9000 examples.fastapi_service:app
"""

import os

from fastapi import FastAPI, Request

from artemis import ArtemisClient, Instance
from artemis.asgi import lifespan


def client() -> ArtemisClient:
    registry = os.environ.get("REGISTRY", "http://127.0.0.1:8080")
    return ArtemisClient(servers=[registry], region_id="local", zone_id="zone1")


me = Instance(service_id="fastapi-greetings", ip="127.0.0.1", port=int(os.environ.get("PORT", "9000")))
app = FastAPI(lifespan=lifespan(client, me))


@app.get("/")
async def hello() -> str:
    return "hello from FastAPI"


@app.get("/peers")
async def peers(request: Request) -> dict[str, object]:
    view = await request.state.artemis.service("fastapi-greetings")  # from the live cache after the first use
    return {"urls": [one.url for one in view.instances], "age": view.age}
