"""A Django service in the registry; in a project of its own this is wsgi.py.

gunicorn --workers 4 --bind 127.0.0.1:9000 examples.django_wsgi:application
"""

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from artemis import Instance
from artemis.sync import ArtemisClient
from artemis.wsgi import RegisteredApp


def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse("hello from Django")


def peers(request: HttpRequest) -> HttpResponse:
    view = request.environ["artemis.client"].service("django-greetings")
    return JsonResponse({"urls": [one.url for one in view.instances], "age": view.age})


urlpatterns = [path("", hello), path("peers", peers)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=os.urandom(32).hex())
django.setup()

application = RegisteredApp(
    get_wsgi_application(),
    ArtemisClient(servers=[os.environ.get("REGISTRY", "http://127.0.0.1:8080")], region_id="local", zone_id="zone1"),
    Instance(service_id="django-greetings", ip="127.0.0.1", port=int(os.environ.get("PORT", "9000"))),
)
