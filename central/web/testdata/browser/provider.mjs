// A provider of OpenID Connect for the tests: oidc-provider with one client, and
// people who are what they say. It writes its address and reads until its input
// ends.
import http from "node:http";
import Provider from "oidc-provider";

const [origin] = process.argv.slice(2);
const groups = { vera: ["staff", "safeguard-view"], otto: ["safeguard-view", "safeguard-operate"], nora: ["staff"] };
const server = http.createServer().listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "safeguard-central", client_secret: "made-up-client-secret", redirect_uris: [origin + "/sign-in/returned"] }],
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, name: id + " of the tests", realm: { groups: groups[id] ?? [] } }) }),
    claims: { openid: ["sub"], profile: ["name", "realm"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ["made-up-cookie-key"] },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit(0));
