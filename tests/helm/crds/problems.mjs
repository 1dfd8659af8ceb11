// Why the project whose kind it is would refuse an object: by validators made from its own CRDs. JSON lines in, a JSON list out.
import { createInterface } from "node:readline";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};
const problems = [];
for await (const line of createInterface({ input: process.stdin })) {
  const object = JSON.parse(line);
  const [group, version] = object.apiVersion.split("/");
  const name = `${object.kind} ${object.metadata.name}`;
  const module = await import(`@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${object.kind}`);
  try {
    new module[object.kind](object).validate();
  } catch (error) {
    problems.push(`${name}: ${error.message}`);
  }
}
console.log(JSON.stringify(problems));
