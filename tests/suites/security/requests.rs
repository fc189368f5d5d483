//! Paths, headers and bodies.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::function::Invocation;
use tests::requests::{Endpoint, create_bulk};

use super::{Target, event_at, good};

/// Whatever stands in the path's parameter names a thing of that kind, or nothing.
#[tokio::test]
async fn an_odd_path_names_nothing_else() {
    let target = Target::new().await;
    let long = "9".repeat(10_000);
    let odd = [
        "",
        ".",
        "..",
        "../../operations/1",
        "%2e%2e%2f1",
        "..%2f..%2f1",
        "1/../2",
        "1%00",
        "\u{0}1",
        "1\u{0}",
        "1#CARD",
        "1#BULK",
        "#",
        "##",
        "1%23OP",
        "I#a",
        " 2",
        "2 ",
        "2\n",
        "\t2",
        "+2",
        "-1",
        "0",
        "2e0",
        "0x2",
        "2.0",
        "2,1",
        "９",
        "٢",
        "9007199254740992",
        "18446744073709551616",
        "99999999999999999999999999",
        "null",
        "NaN",
        "true",
        "[1]",
        "{}",
        "*",
        "?",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}1",
        "\u{feff}1",
        "😀",
        "' OR 1=1",
        "\";DROP",
        "${jndi:x}",
        &long,
    ];
    for endpoint in Endpoint::all().into_iter().filter(|endpoint| endpoint.parameter().is_some()) {
        for parameter in odd {
            target.refused(endpoint, event_at(endpoint, parameter), &[400, 403, 404]).await;
        }
    }
    target.is_untouched().await;
}

/// A body that is not what it should be is refused as a whole.
#[tokio::test]
async fn an_odd_body_changes_nothing() {
    let target = Target::new().await;
    let deep = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
    let texts = [
        "true".to_owned(),
        "7".to_owned(),
        "\"x\"".to_owned(),
        "{".to_owned(),
        "[".to_owned(),
        "{}{}".to_owned(),
        "[] []".to_owned(),
        "{\"a\":1,}".to_owned(),
        "[1,]".to_owned(),
        "// x\n{}".to_owned(),
        "{'a':1}".to_owned(),
        "{\"a\":NaN}".to_owned(),
        "{\"a\":01}".to_owned(),
        "\u{feff}\u{feff}{}".to_owned(),
        "\u{0}".to_owned(),
        deep(200),
        deep(5_000),
        "[".repeat(60_000),
        r#"{"external_ids":["b"],"external_ids":["c"],"program_id":1}"#.to_owned(),
        r#"{"cancel_type":"FULL","cancel_type":"PARTIAL","external_ids":["a"]}"#.to_owned(),
        r#"{"reissued_card_id":2,"reissued_card_id":3}"#.to_owned(),
        r#"{"program_id":9007199254740992,"external_ids":["a"],"reissued_card_id":9007199254740992}"#.to_owned(),
        r#"{"program_id":1e400,"external_ids":["a"],"reissued_card_id":1e400}"#.to_owned(),
        r#"{"program_id":"1","external_ids":["a"],"reissued_card_id":"2"}"#.to_owned(),
        r#"{"program_id":1,"external_ids":[""],"reissued_card_id":-1,"cancel_type":"full"}"#.to_owned(),
        format!(r#"{{"program_id":1,"external_ids":["{}"],"reissued_card_id":1.5}}"#, "é".repeat(256)),
    ];
    // {"program_id":1,"external_ids":["a"]} by gzip; and the same as UTF-16, which only orders may be in.
    let gzip = STANDARD.decode("H4sIAAAAAAACA6tWKijKTy9KzI3PTFGyMtRRSq0oSS3KS8wB8ouVrKKVEpViawGYTBHZJQAAAA==").unwrap();
    let utf16: Vec<u8> = "{\"reissued_card_id\":2}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = [gzip, utf16, vec![0xff, 0xfe, 0x00], b"{\"a\":\"\xff\"}".to_vec(), vec![0x80; 100], vec![0; 100]];
    for endpoint in Endpoint::all().into_iter().filter(Endpoint::takes_body) {
        for text in &texts {
            let mut event = good(endpoint).event();
            event["body"] = json!(text);
            target.refused(endpoint, event, &[400, 404]).await;
        }
        for bytes in &bytes {
            let mut event = good(endpoint).event();
            event["body"] = json!(STANDARD.encode(bytes));
            event["isBase64Encoded"] = json!(true);
            event["headers"]["content-encoding"] = json!("gzip");
            target.refused(endpoint, event, &[400]).await;
        }
        let mut event = good(endpoint).event();
        event["body"] = json!(" ".repeat(endpoint.max_body_bytes() + 1));
        target.refused(endpoint, event, &[413]).await;
    }
    target.is_untouched().await;
}

/// A header that counts is refused if it is odd; one that does not is no error, however odd.
#[tokio::test]
async fn odd_headers_are_refused_or_overlooked() {
    let target = Target::new().await;
    let with = |endpoint: Endpoint, name: &str, value: Value| {
        let mut event = good(endpoint).event();
        event["headers"][name] = value;
        event
    };
    let odd =
        ["", " ", "+4001", "-1", "4001 ", "4001,4001", "4001\n", "٤٠٠١", "4e3", "9007199254740992", "0", "\u{0}", "é"];
    let keys = [
        "",
        "\"",
        "\"a\" \"b\"",
        "a b",
        "a,b",
        "é",
        "\u{0}",
        "\r\n",
        "\"a\u{7f}\"",
        &"k".repeat(256),
        &"k".repeat(9000),
    ];
    for endpoint in Endpoint::all() {
        // Those that a request must have are numbers.
        for header in endpoint.parameters("header").into_iter().filter(|header| header["required"] == true) {
            for value in odd {
                let event = with(endpoint, header["name"].as_str().unwrap(), json!(value));
                target.refused(endpoint, event, &[400, 403]).await;
            }
        }
        for key in keys.into_iter().filter(|_| endpoint.takes("header", "Idempotency-Key")) {
            target.refused(endpoint, with(endpoint, "idempotency-key", json!(key)), &[400, 404]).await;
        }
        for cid in ["", "\u{0}", "é", "a\r\nb", &"c".repeat(256)] {
            target.refused(endpoint, with(endpoint, "x-correlation-id", json!(cid)), &[400]).await;
        }
    }
    target.is_untouched().await;
    let get = Endpoint::of("get-card");
    let mut event = good(get).event();
    for number in 0..500 {
        event["headers"][format!("x-odd-{number}")] = json!("é\u{0}\r\nx: y");
    }
    event["headers"]["accept"] = json!("*/*;q=nan, ;;;, text/html");
    event["headers"]["content-length"] = json!("-1");
    event["headers"]["host"] = json!("../..");
    event["headers"]["x-forwarded-proto"] = json!("javascript");
    event["rawQueryString"] = json!("limit=1&&&=;%%%\u{0}<script>é");
    let (status, body, _) = target.answer(get, event).await;
    assert_eq!(status, 200, "{body}");
}

/// Page sizes and cursors that nobody gave out.
#[tokio::test]
async fn an_odd_page_is_refused() {
    let target = Target::new().await;
    for endpoint in Endpoint::all().into_iter().filter(|endpoint| endpoint.takes("query", "cursor")) {
        for query in [
            "limit=0",
            "limit=-1",
            "limit=1001",
            "limit=1e9",
            "limit=99999999999999999999",
            "limit=",
            "cursor=%00",
            "cursor=...",
            "cursor=____",
            "cursor=9",
            "cursor=Lw",
            "limit=a&limit=1",
        ] {
            let mut event = good(endpoint).event();
            event["rawQueryString"] = json!(query);
            let (name, value) = query.split('&').next().unwrap().split_once('=').unwrap();
            event["queryStringParameters"] = json!({ name: value });
            target.refused(endpoint, event, &[400, 404]).await;
        }
    }
    target.is_untouched().await;
}

/// External IDs that look alike, or like keys of other rows, are IDs of their own, and nothing else.
#[tokio::test]
async fn ids_of_any_characters_are_themselves() {
    let target = Target::new().await;
    let ids = [
        "a", "A", "a ", " a", "a\u{301}", "\u{e1}", "a#b", "#", "BULK", "I#a", "OP#1", "\u{ad}", "\u{ffff}", "ﬀ", "ff",
    ];
    let create = create_bulk(&ids);
    let (status, body, _) = target.answer(create.endpoint, create.event()).await;
    assert_eq!(status, 201, "{body}");
    let bulk: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(bulk["counts"]["items"], ids.len());
    let bulk = bulk["id"].as_str().unwrap();
    let get = Endpoint::of("get-bulk");
    let (status, body, _) = target.answer(get, event_at(get, bulk)).await;
    assert_eq!(status, 200, "{body}");
    let shown: Value = serde_json::from_str(&body).unwrap();
    let mut shown: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["external_id"].as_str().unwrap()).collect();
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, ids);
    // A bulk's name with a row's name behind it is another bulk's name.
    for tail in ["#BULK", "#I#a", "#", "\u{0}"] {
        target.refused(get, event_at(get, &format!("{bulk}{tail}")), &[404]).await;
    }
}

/// What a bulk says is handed to embossers, who may read it line by line, or print it as it is. So no text of a body may
/// command a device or end a line.
#[tokio::test]
async fn nothing_that_embossers_are_handed_commands_a_device_or_ends_a_line() {
    let target = Target::new().await;
    let kinds = ["\n", "\r", "\t", "\0", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{9b}1A", "\u{9f}", "\u{2028}", "\u{2029}"];
    let mut places = BTreeSet::new();
    // Entries of orders are told nothing of what they say, and nobody prints them.
    let endpoints = Endpoint::all().into_iter().filter(|endpoint| endpoint.function != "cancel-orders");
    for endpoint in endpoints.filter(Endpoint::takes_body) {
        for (example, place) in
            endpoint.examples().iter().flat_map(|example| texts(example).map(move |at| (example, at)))
        {
            for kind in kinds {
                let mut body = example.clone();
                *body.pointer_mut(&place).unwrap() = json!(format!("GOLD{kind}"));
                let (status, answer, _) = target.answer(endpoint, good(endpoint).body(&body).event()).await;
                let problem: Value = serde_json::from_str(&answer).unwrap();
                let pointer = &problem["errors"][0]["pointer"];
                assert_eq!((status, pointer), (400, &json!(place)), "{body}: {answer}");
            }
            places.insert(place);
        }
    }
    let settings = ["template_id", "embossing_custom_field", "embossing_group", "external_ids/0", "external_ids/1"];
    assert!(settings.iter().all(|place| places.contains(&format!("/{place}"))), "not in an example: {places:?}");
    target.is_untouched().await;
}

/// The places of texts in a body: of its members, and of the lists among them.
fn texts(body: &Value) -> impl Iterator<Item = String> {
    let members = body.as_object().unwrap().iter();
    members.flat_map(|(name, value)| match value {
        Value::String(_) => vec![format!("/{name}")],
        Value::Array(all) => {
            (0..all.len()).filter(|at| all[*at].is_string()).map(|at| format!("/{name}/{at}")).collect()
        }
        _ => Vec::new(),
    })
}

/// A payload that is not one of the gateway's is no request: the function says so and lives on.
#[tokio::test]
async fn what_is_no_request_at_all_harms_nobody() {
    let target = Target::new().await;
    for endpoint in Endpoint::all() {
        let function = &target.functions[endpoint.function];
        for payload in [json!(null), json!([]), json!("x"), json!({}), json!({ "version": "2.0", "headers": [] })] {
            let invocation = function.invoke(payload.clone()).await;
            let is_refusal = match &invocation {
                Invocation::Failed(_) => true,
                Invocation::Responded(answer) => answer["statusCode"].as_u64().is_some_and(|status| status >= 400),
                Invocation::Crashed | Invocation::Stopped => false,
            };
            assert!(is_refusal, "{}: {invocation:?} to {payload}", endpoint.function);
        }
        let mut event = good(endpoint).event();
        event["headers"]["x-correlation-id"] = json!("é");
        target.refused(endpoint, event, &[400]).await;
    }
    target.is_untouched().await;
}
