//! Malicious and unusual paths, headers and bodies.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::function::Invocation;
use tests::requests::{Endpoint, create_bulk};

use super::{Fixture, event_at, good};

/// A path parameter names a resource of the path's kind, or nothing.
#[tokio::test]
async fn an_unusual_path_reaches_no_other_resource() {
    let fixture = Fixture::new().await;
    let long = "9".repeat(10_000);
    let unusual = [
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
        for parameter in unusual {
            fixture.refused(endpoint, event_at(endpoint, parameter), &[400, 403, 404]).await;
        }
    }
    fixture.assert_untouched().await;
}

/// An invalid body is refused as a whole.
#[tokio::test]
async fn an_invalid_body_changes_nothing() {
    let fixture = Fixture::new().await;
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
    // {"program_id":1,"external_ids":["a"]} compressed by gzip, and a body in UTF-16, which only orders accept.
    let gzip = STANDARD.decode("H4sIAAAAAAACA6tWKijKTy9KzI3PTFGyMtRRSq0oSS3KS8wB8ouVrKKVEpViawGYTBHZJQAAAA==").unwrap();
    let utf16: Vec<u8> = "{\"reissued_card_id\":2}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = [gzip, utf16, vec![0xff, 0xfe, 0x00], b"{\"a\":\"\xff\"}".to_vec(), vec![0x80; 100], vec![0; 100]];
    for endpoint in Endpoint::all().into_iter().filter(Endpoint::takes_body) {
        for text in &texts {
            let mut event = good(endpoint).event();
            event["body"] = json!(text);
            fixture.refused(endpoint, event, &[400, 404]).await;
        }
        for bytes in &bytes {
            let mut event = good(endpoint).event();
            event["body"] = json!(STANDARD.encode(bytes));
            event["isBase64Encoded"] = json!(true);
            event["headers"]["content-encoding"] = json!("gzip");
            fixture.refused(endpoint, event, &[400]).await;
        }
        let mut event = good(endpoint).event();
        event["body"] = json!(" ".repeat(endpoint.max_body_bytes() + 1));
        fixture.refused(endpoint, event, &[413]).await;
    }
    fixture.assert_untouched().await;
}

/// An invalid value of a header that the endpoint reads is refused. Other headers may have any value.
#[tokio::test]
async fn invalid_headers_are_refused_or_ignored() {
    let fixture = Fixture::new().await;
    let with = |endpoint: Endpoint, name: &str, value: Value| {
        let mut event = good(endpoint).event();
        event["headers"][name] = value;
        event
    };
    let invalid =
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
        // All required headers are numbers.
        for header in endpoint.parameters("header").into_iter().filter(|header| header["required"] == true) {
            for value in invalid {
                let event = with(endpoint, header["name"].as_str().unwrap(), json!(value));
                fixture.refused(endpoint, event, &[400, 403]).await;
            }
        }
        for key in keys.into_iter().filter(|_| endpoint.takes("header", "Idempotency-Key")) {
            fixture.refused(endpoint, with(endpoint, "idempotency-key", json!(key)), &[400, 404]).await;
        }
        for cid in ["", "\u{0}", "é", "a\r\nb", &"c".repeat(256)] {
            fixture.refused(endpoint, with(endpoint, "x-correlation-id", json!(cid)), &[400]).await;
        }
    }
    fixture.assert_untouched().await;
    let get = Endpoint::of("get-card");
    let mut event = good(get).event();
    for number in 0..500 {
        event["headers"][format!("x-unusual-{number}")] = json!("é\u{0}\r\nx: y");
    }
    event["headers"]["accept"] = json!("*/*;q=nan, ;;;, text/html");
    event["headers"]["content-length"] = json!("-1");
    event["headers"]["host"] = json!("../..");
    event["headers"]["x-forwarded-proto"] = json!("javascript");
    event["rawQueryString"] = json!("limit=1&&&=;%%%\u{0}<script>é");
    let (status, body, _) = fixture.response(get, event).await;
    assert_eq!(status, 200, "{body}");
}

/// Page sizes out of range and cursors that the API did not issue are refused.
#[tokio::test]
async fn an_invalid_page_is_refused() {
    let fixture = Fixture::new().await;
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
            fixture.refused(endpoint, event, &[400, 404]).await;
        }
    }
    fixture.assert_untouched().await;
}

/// External IDs that look alike, or like the keys of other rows, are distinct IDs.
#[tokio::test]
async fn external_ids_of_any_characters_are_distinct() {
    let fixture = Fixture::new().await;
    let ids = [
        "a", "A", "a ", " a", "a\u{301}", "\u{e1}", "a#b", "#", "BULK", "I#a", "OP#1", "\u{ad}", "\u{ffff}", "ﬀ", "ff",
    ];
    let create = create_bulk(&ids);
    let (status, body, _) = fixture.response(create.endpoint, create.event()).await;
    assert_eq!(status, 201, "{body}");
    let bulk: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(bulk["counts"]["items"], ids.len());
    let bulk = bulk["id"].as_str().unwrap();
    let get = Endpoint::of("get-bulk");
    let (status, body, _) = fixture.response(get, event_at(get, bulk)).await;
    assert_eq!(status, 200, "{body}");
    let shown: Value = serde_json::from_str(&body).unwrap();
    let mut shown: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["external_id"].as_str().unwrap()).collect();
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, ids);
    // A bulk's ID followed by parts of a row's key is the ID of another bulk, which does not exist.
    for tail in ["#BULK", "#I#a", "#", "\u{0}"] {
        fixture.refused(get, event_at(get, &format!("{bulk}{tail}")), &[404]).await;
    }
}

/// Embossers get a bulk's texts, and may read them line by line or print them unchanged. So no text of a body may
/// contain a control character or a line ending.
#[tokio::test]
async fn no_text_for_embossers_has_control_characters() {
    let fixture = Fixture::new().await;
    let kinds = ["\n", "\r", "\t", "\0", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{9b}1A", "\u{9f}", "\u{2028}", "\u{2029}"];
    let mut places = BTreeSet::new();
    // Texts in entries of orders are neither returned nor printed.
    let endpoints = Endpoint::all().into_iter().filter(|endpoint| endpoint.function != "cancel-orders");
    for endpoint in endpoints.filter(Endpoint::takes_body) {
        for (example, place) in
            endpoint.examples().iter().flat_map(|example| texts(example).map(move |at| (example, at)))
        {
            for kind in kinds {
                let mut body = example.clone();
                *body.pointer_mut(&place).unwrap() = json!(format!("GOLD{kind}"));
                let (status, response, _) = fixture.response(endpoint, good(endpoint).body(&body).event()).await;
                let problem: Value = serde_json::from_str(&response).unwrap();
                let pointer = &problem["errors"][0]["pointer"];
                assert_eq!((status, pointer), (400, &json!(place)), "{body}: {problem}");
            }
            places.insert(place);
        }
    }
    let settings = ["template_id", "embossing_custom_field", "embossing_group", "external_ids/0", "external_ids/1"];
    assert!(
        settings.iter().all(|place| places.contains(&format!("/{place}"))),
        "add the missing settings to the examples in openapi.yaml: {places:?}"
    );
    fixture.assert_untouched().await;
}

/// Returns the JSON pointers of the texts in a body: its members, and the elements of its lists.
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

/// A function responds with an error to a payload that is not from API Gateway, and keeps running.
#[tokio::test]
async fn a_payload_that_is_no_request_crashes_no_function() {
    let fixture = Fixture::new().await;
    for endpoint in Endpoint::all() {
        let function = &fixture.functions[endpoint.function];
        for payload in [json!(null), json!([]), json!("x"), json!({}), json!({ "version": "2.0", "headers": [] })] {
            let invocation = function.invoke(payload.clone()).await;
            let is_refusal = match &invocation {
                Invocation::Failed(_) => true,
                Invocation::Responded(response) => response["statusCode"].as_u64().is_some_and(|status| status >= 400),
                Invocation::Crashed | Invocation::Stopped => false,
            };
            assert!(is_refusal, "{}: {invocation:?} to {payload}", endpoint.function);
        }
        let mut event = good(endpoint).event();
        event["headers"]["x-correlation-id"] = json!("é");
        fixture.refused(endpoint, event, &[400]).await;
    }
    fixture.assert_untouched().await;
}
