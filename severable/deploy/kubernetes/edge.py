"""The edge: nginx with the same configuration as everywhere, behind whatever ends TLS."""

from __future__ import annotations

from severable.deploy import nginx
from severable.deploy.kubernetes.pods import deployment, secured, secured_pod, spread
from severable.deploy.kubernetes.pods import resources as limits
from severable.deploy.kubernetes.resources import EDGE, Resource, labels, required, resource
from severable.deploy.kubernetes.services import account, disruption_budget
from severable.topology import Topology

IMAGE = "docker.io/nginxinc/nginx-unprivileged:1.28-alpine"
FILE = "nginx.conf"
CONFIGURATION = f"{EDGE}-nginx"
REPLICAS = 2
NGINX, USER = "nginx", 101  # of the image
RESOLVER = "kube-dns.kube-system.svc.cluster.local"
TLS_SECRET = f"{EDGE}-tls"


def nginx_conf(topology: Topology, placement: str) -> str:
    """Return nginx's configuration. Its resolver needs full names."""
    full_name = f"{{}}.{required(topology)[1].namespace}.svc.cluster.local"
    hosts = nginx.hosts(topology, placement, full_name)
    return nginx.configuration(topology, placement, hosts, resolver=RESOLVER)


def configuration() -> Resource:
    """Return the generator of nginx's ConfigMap. A change of it starts new pods."""
    return {"name": CONFIGURATION, "files": [FILE]}


def resources(topology: Topology) -> list[Resource]:
    """Return nginx with its Service, and the Ingress that ends TLS in front of it."""
    return [
        account(EDGE),
        deployment(EDGE, EDGE, NGINX, REPLICAS, _pod(topology)),
        resource("v1", "Service", EDGE, spec={"selector": labels(EDGE, NGINX), "ports": [_port()]}),
        disruption_budget(EDGE, EDGE),
        _ingress(topology),
    ]


def _pod(topology: Topology) -> Resource:
    deploy = required(topology)[1]
    container = {
        "name": NGINX,
        "image": IMAGE,
        "ports": [{"name": "http", "containerPort": nginx.PORT}],
        # nginx stops accepting connections before the cluster removes the pod from its endpoints.
        "lifecycle": {"preStop": {"sleep": {"seconds": max(1, round(deploy.drain))}}},
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10},
        "resources": limits(0.1, 1.0, 64),
        "securityContext": secured(),
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/nginx/nginx.conf", "subPath": FILE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    return {
        "serviceAccountName": EDGE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(deploy.grace),
        "securityContext": secured_pod(USER),
        "containers": [container],
        "topologySpreadConstraints": [spread(EDGE, NGINX)],
        "volumes": [
            {"name": "configuration", "configMap": {"name": CONFIGURATION}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _port() -> Resource:
    return {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}


def _ingress(topology: Topology) -> Resource:
    host = required(topology)[0].host
    backend = {"service": {"name": EDGE, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {
        "tls": [{"hosts": [host], "secretName": TLS_SECRET}],
        "rules": [{"host": host, "http": {"paths": paths}}],
    }
    return resource("networking.k8s.io/v1", "Ingress", EDGE, spec=spec)
