//! What means harm to whoever looks: dead letters and rows with sequences that a terminal obeys, before every command of
//! the operator's tool that shows any of it.

use serde_json::json;
use tests::operator;
use tests::payloads::ORG;
use tests::test_env::TestEnv;

const OPERATION: &str = "00000000-0000-7000-8000-000000000000";

/// A command of the terminal in each of the ways there are to begin one, text that hides or turns the rest around, and
/// what ends a line.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}1A\u{7f}\r\n\u{85}\u{202e}\u{2066}\u{61c}\u{200f}\u{200b}\u{2028}\u{2029}";

/// What SQS takes as it is.
fn as_sqs_takes_it() -> String {
    HOSTILE.chars().filter(|c| *c != '\u{1b}').collect()
}

async fn with_dead_letters() -> TestEnv {
    let env = TestEnv::new().await;
    let body = json!({ "org_id": HOSTILE, "operation_id": HOSTILE, "cid": HOSTILE }).to_string();
    let raw = body.replace("\\u001b", "").replace("\\r\\n", "");
    for body in [body, raw] {
        let reason = aws_sdk_sqs::types::MessageAttributeValue::builder().data_type("String");
        let reason = reason.string_value(as_sqs_takes_it()).build().unwrap();
        let sending = env.sqs.send_message().queue_url(&env.dlq_url).message_body(body);
        sending.message_attributes("reason", reason).send().await.unwrap();
    }
    env
}

/// Rows that only somebody who writes to the table could make.
async fn put_rows(env: &TestEnv) {
    let operation = json!({
        "pk": format!("{ORG}#OP#{OPERATION}"), "sk": "OP", "org_id": ORG, "operation_id": OPERATION, "state": "RUNNING",
        "fingerprint": "f", "cid": "c", "created_at": "2026-11-22T03:00:00.000Z", "expires_at": 4_000_000_000_u32,
        "kind": "CANCEL_BULK", "bulk_id": format!("of nobody {HOSTILE}"), "cancel_type": "FULL",
    });
    let odd = json!({ "pk": format!("{ORG}#BULK#{HOSTILE}"), "sk": "BULK" });
    for row in [operation, odd] {
        let item = serde_dynamo::to_item(row).unwrap();
        env.dynamodb.put_item().table_name(&env.table).set_item(Some(item)).send().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_that_is_shown_moves_an_operators_terminal() {
    let env = with_dead_letters().await;
    put_rows(&env).await;
    let address = operator::deployed(&env).await;
    let commands: [&[&str]; 9] = [
        &["dead-letters", "bind-card"],
        &["redrive", "bind-card", "--all"],
        &["--yes", "redrive", "bind-card", "--operation", "y\u{9b}\u{1b}\u{202e}"],
        &["--yes", "redrive", "bind-card", "--message", "y\u{9b}\u{1b}\u{202e}"],
        &["operation", OPERATION, "--tenant", ORG],
        &["operation", HOSTILE, "--tenant", HOSTILE],
        &["--yes", "resume", OPERATION, "--tenant", ORG],
        &["check"],
        &["--yes", "redrive", "bind-card", "--all"],
    ];
    for command in commands {
        // The last of them sends the messages away.
        let forms: &[bool] = if command == commands[8] { &[true] } else { &[false, true] };
        for json in forms {
            let mut arguments = vec!["--stack", HOSTILE];
            arguments.extend(json.then_some("--json"));
            arguments.extend(command);
            let output = operator::output(&arguments, "", &[("AWS_ENDPOINT_URL", &address)]).await;
            let said = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&said);
            assert!(said.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{arguments:?}: {told:?}");
            assert!(told.contains("\\u{9b}") || told.contains("\\u009b"), "{arguments:?} shows nothing of it: {told}");
        }
    }
}
