// Checks infra/api/asyncapi.yaml with AsyncAPI's own parser. check_api_docs.py checks the contents of the schemas.
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const { severity, code, path, message } of diagnostics) {
  console.log(`${["error", "warning"][severity] ?? "note"}: ${code} at /${path.join("/")}: ${message}`);
}
const WARNING = 1;
const messages = document?.allMessages().all() ?? [];
if (messages.length === 0 || diagnostics.some(({ severity }) => severity <= WARNING)) process.exit(1);
console.log(`ok: ${document.allChannels().all().length} channels, ${messages.length} messages`);
