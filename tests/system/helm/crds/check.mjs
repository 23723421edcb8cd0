// Validates custom resources (a JSON list on standard input) with the operators' own schemas, and writes them as
// TypeScript for tsc, which also refuses fields that the operators do not know.
import { readFileSync, writeFileSync } from "node:fs";

const PACKAGES = {
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "gateway.networking.k8s.io": "gateway-api",
  "external-secrets.io": "external-secrets",
};
const lines = [];
let faults = 0;
for (const [number, document] of JSON.parse(readFileSync(0, "utf8")).entries()) {
  const { apiVersion, kind, metadata } = document;
  const path = `@kubernetes-models/${PACKAGES[apiVersion.split("/")[0]]}/${apiVersion}/${kind}`;
  const module = await import(path);
  try {
    new module[kind](structuredClone(document)).validate();
  } catch (fault) {
    faults += 1;
    console.log(`${kind} ${metadata.name}: ${fault.message}`);
  }
  lines.push(`import type { I${kind} as K${number} } from ${JSON.stringify(path)};`);
  lines.push(`export const ${kind}_${number}: K${number} = ${JSON.stringify(document, null, 1)};`);
}
writeFileSync(process.argv[2], lines.join("\n"));
process.exit(faults ? 1 : 0);
