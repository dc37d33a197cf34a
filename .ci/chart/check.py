"""What must hold for every rendering of the chart. Usage: check.py HELM FOLDER, where FOLDER holds SET-KUBE.yaml files."""

import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "helm"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (HERE / "schemas").glob("*.json")}
OWN_IMAGES = ("snorri", "migrate", "ready")
PASSWORD = "s3cr3t-pass"  # stands in ci/everything-values.yaml
problems = []


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key that is given twice, which is how a template silently overrides itself."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {', '.join(map(str, twice))}", node.start_mark)
        return super().construct_mapping(node, deep)


def wrong(where, what):
    problems.append(f"{where}: {what}")


def named(obj):
    return f"{obj['kind']}/{obj['metadata']['name']}"


def hooks(obj):
    return (obj["metadata"].get("annotations") or {}).get("helm.sh/hook", "").split(",")


def pods(objects):
    """Every pod of the rendering: the object, its labels, its spec."""
    for obj in objects:
        if obj["kind"] == "Pod":
            yield obj, obj["metadata"]["labels"], obj["spec"]
        elif "template" in obj.get("spec", {}):
            template = obj["spec"]["template"]
            yield obj, template["metadata"]["labels"], template["spec"]


def check_schema(where, obj, kube):
    try:
        if obj["kind"] in SCHEMAS:
            jsonschema.Draft202012Validator(SCHEMAS[obj["kind"]]).validate(obj)
        else:
            kubernetes_validate.validate(obj, kube, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        wrong(where, f"/{'/'.join(map(str, error.path))}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        wrong(where, f"no schema: {error.message}; write one in .ci/chart/schemas")


def check_container(where, obj, container, restarts):
    context = container.get("securityContext", {})
    for key, value in {"runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}.items():
        if context.get(key) is not value:
            wrong(where, f"securityContext.{key} is not {value}")
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        wrong(where, "capabilities are not dropped")
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong(where, "seccompProfile is not RuntimeDefault")
    resources = container.get("resources", {})
    for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if name not in resources.get(kind, {}):
            wrong(where, f"no resources.{kind}.{name}")
    if restarts:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                wrong(where, f"no {probe}")
    image = container["image"]
    if image.endswith(":latest") or not re.search(r":[^/]+$|@sha256:", image):
        wrong(where, f"the image {image} is not pinned")
    if container["name"] in OWN_IMAGES and container.get("command"):
        wrong(where, "overrides the image's entry point")


def check_pods(where, objects):
    made_late = {named(obj) for obj in objects if not any(hook.startswith("pre-") for hook in hooks(obj))}
    for obj, _, spec in pods(objects):
        at = f"{where} {named(obj)}"
        context = spec.get("securityContext", {})
        if spec.get("automountServiceAccountToken") is not False:
            wrong(at, "mounts a service account's token")
        if not context.get("runAsNonRoot") or context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            wrong(at, "the pod's security context is not the restricted one")
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in spec["containers"] + spec.get("initContainers", []):
            inside = f"{at} {container['name']}"
            check_container(inside, obj, container, obj["kind"] == "Deployment" and container in spec["containers"])
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    wrong(inside, f"mounts {mount['name']}, which is no volume")
            names = [env["name"] for env in container.get("env", [])]
            if len(names) != len(set(names)):
                wrong(inside, "gives an environment variable twice")
            if any(hook.startswith("pre-") for hook in hooks(obj)):
                for env in container.get("env", []):
                    secret = env.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
                    if f"Secret/{secret}" in made_late:
                        wrong(inside, f"is a hook, but Secret/{secret} is only made after it")
                if f"ServiceAccount/{spec.get('serviceAccountName')}" in made_late:
                    wrong(at, "is a hook, but its service account is only made after it")


def matches(selector, labels):
    return selector.items() <= labels.items()


def check_selectors(where, objects):
    labels = [pod_labels for _, pod_labels, _ in pods(objects)]
    services = [obj for obj in objects if obj["kind"] == "Service"]
    ports = {port["name"] for obj, _, spec in pods(objects) for c in spec["containers"] for port in c.get("ports", [])}
    for obj in objects:
        spec = obj.get("spec", {})
        at = f"{where} {named(obj)}"
        if obj["kind"] == "Service":
            selector, among = spec["selector"], labels
            for port in spec["ports"]:
                if port["targetPort"] not in ports:
                    wrong(at, f"leads to the port {port['targetPort']}, which no container has")
        elif obj["kind"] == "NetworkPolicy":
            selector, among = spec["podSelector"]["matchLabels"], labels
        elif obj["kind"] == "ServiceMonitor":
            selector, among = spec["selector"]["matchLabels"], [service["metadata"]["labels"] for service in services]
            found = [service for service in services if matches(selector, service["metadata"]["labels"])]
            if [port["name"] for service in found for port in service["spec"]["ports"]] != [e["port"] for e in spec["endpoints"]]:
                wrong(at, "does not choose exactly the admin service")
        elif "matchLabels" in spec.get("selector", {}):
            selector, among = spec["selector"]["matchLabels"], labels
        else:
            continue
        hits = [candidate for candidate in among if matches(selector, candidate)]
        if len(hits) != 1:
            wrong(at, f"its selector matches {len(hits)} things, not 1")
        # A selector is immutable: what changes with a version must not be in it.
        if any(key in selector for key in ("helm.sh/chart", "app.kubernetes.io/version")):
            wrong(at, "its selector changes with the version")
    for obj in objects:
        if obj["kind"] in ("Ingress", "HTTPRoute") and "-admin" in json.dumps(obj["spec"]):
            wrong(f"{where} {named(obj)}", "exposes the admin port")


def check_secrets(where, objects):
    for obj in objects:
        if obj["kind"] != "Secret" and PASSWORD in json.dumps(obj):
            wrong(f"{where} {named(obj)}", "holds the database's password")
        if obj["kind"] == "ConfigMap":
            for key, value in (obj.get("data") or {}).items():
                if re.search(r"://[^/\s:]+:[^@\s]+@|BEGIN .*(PRIVATE|CREDS|SEED)", str(value)):
                    wrong(f"{where} {named(obj)}", f"holds a secret under {key}")


def helm_template(helm, *args):
    base = [helm, "template", "orders", str(CHART), "-n", "shop"]
    return subprocess.run([*base, *args], capture_output=True, text=True)


def check_refusals(helm):
    """A wrong value must be refused, with a message that names it."""
    minimal = ["-f", str(CHART / "ci/minimal-values.yaml")]
    for args, words in [
        ([], "database.existingSecret.name"),
        (["--set", "database.existingSecret.name=x"], "nats.urls"),
        ([*minimal, "--set", "database.url=postgres://x"], "only one of"),
        ([*minimal, "--set", "database.url=mysql://x"], "/database/url"),
        ([*minimal, "--set", "nats.urls={nats://user:password@nats:4222}"], "/nats/urls/0"),
        ([*minimal, "--set", "config.streamReplicas=2"], "/config/streamReplicas"),
        ([*minimal, "--set", "config.streamReplica=3"], "'streamReplica' not allowed"),
        ([*minimal, "--set", "repliaCount=3"], "'repliaCount' not allowed"),
        ([*minimal, "--set-string", "replicaCount=3"], "/replicaCount"),
        ([*minimal, "--set", "migrations.mode=never"], "/migrations/mode"),
        ([*minimal, "--set", "config.logFormat=xml"], "/config/logFormat"),
        ([*minimal, "--set", "image.digest=sha256:12"], "/image/digest"),
        ([*minimal, "--set", "resources.requests.memory=lots"], "/resources/requests/memory"),
        ([*minimal, "--set", "terminationGracePeriodSeconds=34"], "terminationGracePeriodSeconds"),
        ([*minimal, "--set", "ingress.enabled=true"], "ingress.hosts"),
        ([*minimal, "--set", "httpRoute.enabled=true"], "httpRoute.parentRefs"),
        ([*minimal, "--set", "autoscaling.enabled=true,autoscaling.minReplicas=9"], "autoscaling.minReplicas"),
    ]:
        run = helm_template(helm, *args)
        if run.returncode == 0:
            wrong(" ".join(args[2:]), "was accepted")
        elif words not in run.stderr:
            wrong(" ".join(args[2:]), f"was refused without the words {words!r}: {run.stderr}")


def environment(objects):
    deployment = next(obj for obj in objects if obj["kind"] == "Deployment")
    return {env["name"]: env.get("value") for env in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}


def load(text):
    return [obj for obj in yaml.load_all(text, StrictLoader) if obj]


def check_variants(helm):
    minimal = ["-f", str(CHART / "ci/minimal-values.yaml")]
    for mode, migrate, jobs in (("job", "check", 1), ("startup", "on", 0), ("off", "check", 0)):
        objects = load(helm_template(helm, *minimal, "--set", f"migrations.mode={mode}").stdout)
        if environment(objects).get("SNORRI_MIGRATE") != migrate:
            wrong(f"migrations.mode={mode}", f"SNORRI_MIGRATE is not {migrate}")
        if sum(obj["kind"] == "Job" for obj in objects) != jobs:
            wrong(f"migrations.mode={mode}", f"does not make {jobs} Jobs")
    url = ["--set", "nats.urls={nats://n:4222}", "--set", "database.url=postgres://u:{}@h/d"]
    sums = {
        next(obj for obj in load(helm_template(helm, *url[:-1], url[-1].format(password)).stdout) if obj["kind"] == "Deployment")[
            "spec"]["template"]["metadata"]["annotations"]["checksum/database"]
        for password in ("one", "two")
    }
    if len(sums) != 2:
        wrong("checksum/database", "does not change with the URL")
    big = load(helm_template(helm, *minimal, "--set", "config.liveSagasMax=2000000").stdout)
    if environment(big)["SNORRI_LIVE_SAGAS_MAX"] != "2000000":
        wrong("config.liveSagasMax", "a large number is not written in full")
    for obj in load(helm_template(helm, "-f", str(CHART / "ci/everything-values.yaml"), "--set", f"fullnameOverride={'x' * 60}").stdout):
        if len(obj["metadata"]["name"]) > 63:
            wrong(named(obj), "its name is longer than 63 characters")


def dashboard_rules():
    """The queries of the dashboard as recording rules, so that promtool reads them too."""
    dashboard = json.loads((CHART / "files/dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [
        {"record": f"dashboard:query:{number}", "expr": query.replace("$__rate_interval", "1m")} for number, query in enumerate(queries)
    ]
    return yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, sort_keys=False, width=200)


def check_metrics(rules):
    """Every metric of alerts and dashboard must be one that the program has."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "orchestrator/src").rglob("*.rs")))
    if "prometheus_client" not in source:
        print("SKIPPED: orchestrator/src has no metrics yet, so the names in alerts and dashboard were not looked up there.")
        return
    for metric in sorted(set(re.findall(r"\bsnorri_[a-z_]+", rules))):
        stem = re.sub(r"_(total|bucket|count|sum|info)$", "", metric.removeprefix("snorri_"))
        if not re.search(rf'"(snorri_)?{stem}(_total|_info)?\b', source):
            wrong("alerts or dashboard", f"{metric} is no metric in orchestrator/src")


def main(helm, folder):
    files = sorted(pathlib.Path(folder).glob("*-*.yaml"))
    count = 0
    for path in files:
        kube = path.stem.rpartition("-")[2]
        objects = load(path.read_text())
        count += len(objects)
        keys = [named(obj) for obj in objects]
        for key in {key for key in keys if keys.count(key) > 1}:
            wrong(path.stem, f"{key} is made twice")
        for obj in objects:
            check_schema(f"{path.stem} {named(obj)}", obj, kube)
        check_pods(path.stem, objects)
        check_selectors(path.stem, objects)
        check_secrets(path.stem, objects)
    check_refusals(helm)
    check_variants(helm)
    objects = load(next(path for path in files if path.stem.startswith("everything")).read_text())
    groups = {"groups": next(obj for obj in objects if obj["kind"] == "PrometheusRule")["spec"]["groups"]}
    rules = yaml.safe_dump(groups, sort_keys=False, width=200)
    (pathlib.Path(folder) / "rules.yaml").write_text(rules)
    dashboard = dashboard_rules()
    (pathlib.Path(folder) / "dashboard-rules.yaml").write_text(dashboard)
    check_metrics(rules + dashboard)
    for problem in problems:
        print(f"WRONG {problem}")
    if not count or problems:
        sys.exit(1)
    print(f"{count} objects in {len(files)} renderings hold; wrong values are refused")


main(*sys.argv[1:])
