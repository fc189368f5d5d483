// Checks infra/api/asyncapi.yaml by AsyncAPI's own parser, which reads the schemas that it refers to.
import { Parser, fromFile } from "@asyncapi/parser";
import Ajv2020 from "ajv/dist/2020.js";

const ajv = new Ajv2020({ strict: false, validateFormats: false });

// The parser knows JSON Schema of 2019 at most: what ours are is a format of its own to it.
const jsonSchema = {
  getMimeTypes: () => ["application/schema+json;version=draft-2020-12"],
  validate: async ({ data, path }) =>
    ajv.validateSchema(data) ? [] : ajv.errors.map(({ message, instancePath }) => ({ message: `${instancePath} ${message}`, path })),
  parse: async ({ data }) => data,
};

const parser = new Parser({ schemaParsers: [jsonSchema] });
const { document, diagnostics } = await fromFile(parser, process.argv[2]).parse();
const [ERROR, WARNING] = [0, 1];
for (const { severity, code, path, message } of diagnostics) {
  console.log(`${severity === ERROR ? "error" : severity === WARNING ? "warning" : "note"}: ${code} at /${path.join("/")}: ${message}`);
}
if (!document || diagnostics.some(({ severity }) => severity <= WARNING)) process.exit(1);
const messages = document.allMessages().all();
if (messages.length === 0) process.exit(1);
console.log(`ok: ${document.allChannels().all().length} channels, ${messages.length} messages`);
