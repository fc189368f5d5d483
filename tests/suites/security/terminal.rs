//! Dead letters and rows with terminal control sequences, shown by every command of the operator's tool that can show
//! them.

use serde_json::json;
use tests::operator;
use tests::payloads::ORG;
use tests::test_env::TestEnv;

const OPERATION: &str = "00000000-0000-7000-8000-000000000000";

/// Every way to begin a terminal control sequence, characters that hide or reverse other text, and line endings.
const MALICIOUS: &str = "x\u{1b}[2J\u{9b}1A\u{7f}\r\n\u{85}\u{202e}\u{2066}\u{61c}\u{200f}\u{200b}\u{2028}\u{2029}";

/// Returns the text without the character that SQS does not accept.
fn accepted_by_sqs() -> String {
    MALICIOUS.chars().filter(|c| *c != '\u{1b}').collect()
}

async fn with_dead_letters() -> TestEnv {
    let env = TestEnv::new().await;
    let body = json!({ "org_id": MALICIOUS, "operation_id": MALICIOUS, "cid": MALICIOUS }).to_string();
    let raw = body.replace("\\u001b", "").replace("\\r\\n", "");
    for body in [body, raw] {
        let reason = aws_sdk_sqs::types::MessageAttributeValue::builder().data_type("String");
        let reason = reason.string_value(accepted_by_sqs()).build().unwrap();
        let sending = env.sqs.send_message().queue_url(&env.dlq_url).message_body(body);
        sending.message_attributes("reason", reason).send().await.unwrap();
    }
    env
}

/// Puts rows that only a writer with access to the table could create.
async fn put_rows(env: &TestEnv) {
    let operation = json!({
        "pk": format!("{ORG}#OP#{OPERATION}"), "sk": "OP", "org_id": ORG, "operation_id": OPERATION, "state": "RUNNING",
        "fingerprint": "f", "cid": "c", "created_at": "2026-11-22T03:00:00.000Z", "expires_at": 4_000_000_000_u32,
        "kind": "CANCEL_BULK", "bulk_id": format!("missing {MALICIOUS}"), "cancel_type": "FULL",
    });
    let malicious = json!({ "pk": format!("{ORG}#BULK#{MALICIOUS}"), "sk": "BULK" });
    let denial = json!({ "reason": MALICIOUS, "at": "2026-11-22T03:00:00.000Z" });
    let list = json!({ "pk": "STACK#DENIED", "sk": "DENIED", "version": 1, "denied": { ORG: denial } });
    for row in [operation, malicious, list] {
        let item = serde_dynamo::to_item(row).unwrap();
        env.dynamodb.put_item().table_name(&env.table).set_item(Some(item)).send().await.unwrap();
    }
}

#[tokio::test]
async fn no_output_controls_an_operators_terminal() {
    let env = with_dead_letters().await;
    put_rows(&env).await;
    let address = operator::deployed(&env).await;
    let commands: [&[&str]; 14] = [
        &["dead-letters", "bind-card"],
        &["redrive", "bind-card", "--all"],
        &["--yes", "redrive", "bind-card", "--operation", "y\u{9b}\u{1b}\u{202e}"],
        &["--yes", "redrive", "bind-card", "--message", "y\u{9b}\u{1b}\u{202e}"],
        &["operation", OPERATION, "--tenant", ORG],
        &["operation", MALICIOUS, "--tenant", MALICIOUS],
        &["--yes", "resume", OPERATION, "--tenant", ORG],
        &["check"],
        &["tenants", "denied"],
        &["--yes", "tenants", "deny", MALICIOUS, "--reason", MALICIOUS],
        &["dead-letters", "parked"],
        &["--yes", "dead-letters", "park", "bind-card", "--all", "--reason", "y\u{9b}\u{1b}\u{202e}"],
        &["--yes", "dead-letters", "unpark", "--message", "y\u{9b}\u{1b}\u{202e}"],
        &["--yes", "redrive", "bind-card", "--all"],
    ];
    for command in commands {
        // The last command runs once only, because it moves the messages to another queue.
        let forms: &[bool] = if command == commands[13] { &[true] } else { &[false, true] };
        for json in forms {
            let mut arguments = vec!["--stack", MALICIOUS];
            arguments.extend(json.then_some("--json"));
            arguments.extend(command);
            let output = operator::output(&arguments, "", &[("AWS_ENDPOINT_URL", &address)]).await;
            let bytes = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&bytes);
            assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{arguments:?}: {text:?}");
            assert!(
                text.contains("\\u{9b}") || text.contains("\\u009b"),
                "{arguments:?} shows no escaped text: {text}"
            );
        }
    }
}
