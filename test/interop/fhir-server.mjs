// A FHIR R4 server of Medplum's router and repository. It takes nothing that its
// validator does not, and keeps a patient to be found. It says its port, and then
// each X-Request-ID that came with a change.
import { createServer } from 'node:http';
import { getStatus, validateResource } from '@medplum/core';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { load } from './definitions.mjs';

load();
const router = new FhirRouter();
const repo = new MemoryRepository();
await repo.createResource({
  resourceType: 'Patient',
  identifier: [{ system: 'https://fhir.nhs.uk/Id/nhs-number', value: process.argv[2] }],
  name: [{ family: 'ZZTEST' }],
});

async function answer(req) {
  const chunks = [];
  for await (const chunk of req) {
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  const url = new URL(req.url, 'http://localhost');
  const form = req.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  let body = text;
  let query = Object.fromEntries(url.searchParams);
  if (form) {
    body = Object.fromEntries(new URLSearchParams(text));
  } else if (text) {
    body = JSON.parse(text);
    validateResource(body);
    console.log(`${req.method} ${req.headers['x-request-id']}`);
  }
  return router.handleRequest({ method: req.method, url: url.pathname.slice(1), pathname: '', params: {}, query, body, headers: req.headers }, repo);
}

const server = createServer(async (req, res) => {
  let status = 500;
  let resource;
  try {
    const [outcome, found] = await answer(req);
    status = getStatus(outcome);
    resource = found ?? outcome;
  } catch (error) {
    status = error.outcome ? getStatus(error.outcome) : 500;
    resource = error.outcome ?? { resourceType: 'OperationOutcome', issue: [{ severity: 'fatal', code: 'exception', diagnostics: String(error) }] };
  }
  res.writeHead(status, { 'Content-Type': 'application/fhir+json' });
  res.end(JSON.stringify(resource));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
