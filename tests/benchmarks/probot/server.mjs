// Probot with an empty handler: verifies, parses, calls it, answers. Prints its port, serves on loopback until its
// standard input is closed, and then prints the processor time that it used, in seconds.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createNodeMiddleware, createProbot } from "probot";

const { privateKey } = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  privateKeyEncoding: { type: "pkcs1", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" },
});
const probot = createProbot({
  overrides: { appId: 1, privateKey, secret: process.env.BENCHMARK_SECRET, logLevel: "fatal" },
});
const middleware = await createNodeMiddleware(
  (app) => {
    app.onAny(() => {});
  },
  { probot, webhooksPath: "/webhook" },
);
const server = createServer((request, response) => {
  middleware(request, response, () => response.writeHead(404).end());
});
server.listen(0, "127.0.0.1", () => {
  const before = process.cpuUsage();
  process.stdout.write(`${server.address().port}\n`);
  process.stdin.resume();
  process.stdin.on("end", () => {
    const used = process.cpuUsage(before);
    process.stdout.write(`${(used.user + used.system) / 1e6}\n`);
    process.exit(0);
  });
});
