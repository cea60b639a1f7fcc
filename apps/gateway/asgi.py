"""The gateway in front of Django; `severable.http.serving` finds this."""

from django.conf import settings

from severable.http import Application, Front


def in_front_of(front: Front) -> Application:
    """Return a proxy in front of Django, or Django alone if there is no other deployment."""
    topology, placement = settings.TOPOLOGY, settings.PLACEMENT
    if len(topology.deployments(placement)) == 1:
        return front
    from apps.gateway.proxy import Gateway, upstreams
    from apps.gateway.urls import composed

    return Gateway(front, upstreams(topology, placement, settings.DEPLOYMENT), composed)
