// A provider of OpenID Connect for the tests: oidc-provider with one client, and
// people who are what they say. It writes its address and reads until its input
// ends.
import http from "node:http";
import Provider from "oidc-provider";

const { origin, id, secret, people, userInfo } = JSON.parse(process.argv[2]);
const claims = [...new Set(Object.values(people).flatMap(Object.keys))];
const server = http.createServer().listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: id, client_secret: secret, redirect_uris: [origin + "/sign-in/returned"] }],
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, name: sub + " of the tests", ...people[sub] }) }),
    claims: { openid: ["sub"], profile: ["name", ...claims] },
    conformIdTokenClaims: userInfo,
    pkce: { required: () => true },
    cookies: { keys: ["made-up-cookie-key"] },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.resume().on("end", () => process.exit(0));
