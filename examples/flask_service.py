"""A Flask service in the registry, and a page that asks another service.

gunicorn --workers 4 --bind 127.0.0.1:9000 examples.flask_service:app
(or flask --app examples.flask_service run --port 9000); all workers are one instance, the last one out unregisters.
"""

import os

from flask import Flask

from artemis import Instance
from artemis.sync import ArtemisClient
from artemis.wsgi import RegisteredApp

app = Flask(__name__)
client = ArtemisClient(
    servers=[os.environ.get("REGISTRY", "http://127.0.0.1:8080")], region_id="local", zone_id="zone1"
)
me = Instance(service_id="flask-greetings", ip="127.0.0.1", port=int(os.environ.get("PORT", "9000")))
app.wsgi_app = RegisteredApp(app.wsgi_app, client, me)  # type: ignore[method-assign]


@app.get("/")
def hello() -> str:
    return "hello from Flask"


@app.get("/peers")
def peers() -> dict[str, object]:
    view = client.service("flask-greetings")  # from the live cache after the first use
    return {"urls": [one.url for one in view.instances], "age": view.age}
