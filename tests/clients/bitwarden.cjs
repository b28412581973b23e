// Bitwarden's own generator of forwarded addresses, out of its published command-line client: the sections of
// its bundle that ask a forwarding service, unchanged, with its own words.  (The command `bw` itself makes no
// usernames; its desktop, browser and phone clients run this code.)
//
// Argument: the unpacked package.  Standard input: a JSON list of [integration, settings, website];
// standard output: a list of {alias} or {told}.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const SECTIONS = [
  "common/src/platform/misc/utils.ts",
  "state/src/core/state-definition.ts",
  "common/src/tools/extension/vendor/data.ts",
  "common/src/tools/private-classifier.ts",
  "common/src/tools/public-classifier.ts",
  "common/src/tools/state/buffered-key-definition.ts",
  "tools/generator/core/src/integration/addy-io.ts",
  "tools/generator/core/src/integration/simple-login.ts",
  "common/src/tools/integration/rpc/rest-client.ts",
  "common/src/tools/integration/integration-context.ts",
  "tools/generator/core/src/engine/forwarder-context.ts",
  "tools/generator/core/src/engine/rpc/create-forwarding-address.ts",
];
// Where settings are stored in their client plays no part here.
const STORAGE = `
  class UserKeyDefinition {}
  const GENERATOR_DISK = null, GENERATOR_MEMORY = null;
  const __webpack_require__ = () => require("node:url");
`;
const GIVEN = `({ AddyIo, SimpleLogin, RestClient, ForwarderContext, Rpc: create_forwarding_address_CreateForwardingAddressRpc })`;

const build = path.join(process.argv[2], "build");
const bundle = fs.readFileSync(path.join(build, "bw.js"), "utf8").split(/^;\/\/ (?:\.\.\/)+libs\//m);
const chosen = SECTIONS.map((name) => {
  const found = bundle.find((each) => each.startsWith(name + "\n"));
  if (!found) throw new Error("the bundle has no " + name);
  return "//" + found;
});
const client = vm.runInThisContext(`(require) => {${STORAGE}${chosen.join("\n")}\nreturn ${GIVEN};}`)(require);
const words = JSON.parse(fs.readFileSync(path.join(build, "locales/en/messages.json"), "utf8").replace(/^\ufeff/, ""));
const i18n = {
  t(key, ...given) {
    const { message, placeholders = {} } = words[key];
    return message.replace(/\$(\w+)\$/g, (_, name) => {
      const found = Object.entries(placeholders).find(([each]) => each.toUpperCase() === name);
      return given[Number(found[1].content.slice(1)) - 1] ?? "";
    });
  },
};

async function answered([integration, settings, website]) {
  const metadata = client[integration];
  const asked = new client.Rpc(metadata, new client.ForwarderContext(metadata, settings, i18n));
  try {
    return { alias: await new client.RestClient({ nativeFetch: fetch }, i18n).fetchJson(asked, { website }) };
  } catch (told) {
    return { told: String(told) };
  }
}

(async () => {
  const found = [];
  for (const each of JSON.parse(fs.readFileSync(0, "utf8"))) found.push(await answered(each));
  process.stdout.write(JSON.stringify(found));
})();
