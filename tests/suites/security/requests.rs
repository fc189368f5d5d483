//! Paths, headers and bodies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::function::Invocation;

use super::{ENDPOINTS, Endpoint, Target};

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
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.parameter.is_some()) {
        for parameter in odd {
            target.refused(endpoint, endpoint.event(parameter), &[400, 403, 404]).await;
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
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.body.is_some()) {
        for text in &texts {
            let mut event = endpoint.good_event();
            event["body"] = json!(text);
            target.refused(endpoint, event, &[400, 404]).await;
        }
        for bytes in &bytes {
            let mut event = endpoint.good_event();
            event["body"] = json!(STANDARD.encode(bytes));
            event["isBase64Encoded"] = json!(true);
            event["headers"]["content-encoding"] = json!("gzip");
            target.refused(endpoint, event, &[400]).await;
        }
        let mut event = endpoint.good_event();
        let limit = if endpoint.function == "bind-card" { 64 << 10 } else { 4 << 20 };
        event["body"] = json!(" ".repeat(limit + 1));
        target.refused(endpoint, event, &[413]).await;
    }
    target.is_untouched().await;
}

/// A header that counts is refused if it is odd; one that does not is no error, however odd.
#[tokio::test]
async fn odd_headers_are_refused_or_overlooked() {
    let target = Target::new().await;
    let with = |endpoint: &Endpoint, name: &str, value: Value| {
        let mut event = endpoint.good_event();
        event["headers"][name] = value;
        event
    };
    let bind = &ENDPOINTS[0];
    for name in ["x-account-id", "x-customer-id"] {
        for value in [
            "",
            " ",
            "+4001",
            "-1",
            "4001 ",
            "4001,4001",
            "4001\n",
            "٤٠٠١",
            "4e3",
            "9007199254740992",
            "0",
            "\u{0}",
            "é",
        ] {
            target.refused(bind, with(bind, name, json!(value)), &[400, 403]).await;
        }
    }
    for endpoint in ENDPOINTS {
        let keys = ["\"", "\"a\" \"b\"", "a b", "a,b", "é", "\u{0}", "\r\n", "\"a\u{7f}\""];
        for key in keys.into_iter().map(ToOwned::to_owned).chain([String::new(), "k".repeat(256), "k".repeat(9000)]) {
            if endpoint.method != "GET" {
                target.refused(&endpoint, with(&endpoint, "idempotency-key", json!(key)), &[400, 404]).await;
            }
        }
        for cid in ["", "\u{0}", "é", "a\r\nb", &"c".repeat(256)] {
            target.refused(&endpoint, with(&endpoint, "x-correlation-id", json!(cid)), &[400]).await;
        }
    }
    target.is_untouched().await;
    let get = &ENDPOINTS[7];
    let mut event = get.good_event();
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
    for endpoint in [&ENDPOINTS[6], &ENDPOINTS[8]] {
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
            let mut event = endpoint.good_event();
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
    let create = &ENDPOINTS[1];
    let mut event = create.good_event();
    event["body"] = json!(json!({ "program_id": 1, "external_ids": ids }).to_string());
    let (status, body, _) = target.answer(create, event).await;
    assert_eq!(status, 201, "{body}");
    let bulk: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(bulk["counts"]["items"], ids.len());
    let bulk = bulk["id"].as_str().unwrap();
    let (status, body, _) = target.answer(&ENDPOINTS[6], ENDPOINTS[6].event(bulk)).await;
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
        target.refused(&ENDPOINTS[6], ENDPOINTS[6].event(&format!("{bulk}{tail}")), &[404]).await;
    }
}

/// What a bulk says is handed to embossers, who may read it line by line, or print it as it is.
#[tokio::test]
async fn nothing_that_embossers_are_handed_commands_a_device_or_ends_a_line() {
    let target = Target::new().await;
    let [create, increment, cancel] = [1, 2, 4].map(|number| &ENDPOINTS[number]);
    let kinds = ["\n", "\r", "\t", "\0", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{9b}1A", "\u{9f}", "\u{2028}", "\u{2029}"];
    for text in kinds.map(|kind| format!("GOLD{kind}")) {
        let settings = ["template_id", "embossing_custom_field", "embossing_group"];
        let set = settings.map(|name| (create, json!({ "program_id": 1, "external_ids": ["a"], name: text }), name));
        let named = [
            (create, json!({ "program_id": 1, "external_ids": [text] }), "external_ids/0"),
            (increment, json!({ "external_ids": ["a", text] }), "external_ids/1"),
            (cancel, json!({ "cancel_type": "PARTIAL", "external_ids": [text] }), "external_ids/0"),
        ];
        for (endpoint, body, place) in set.into_iter().chain(named) {
            let mut event = endpoint.good_event();
            event["body"] = json!(body.to_string());
            let (status, answer, _) = target.answer(endpoint, event).await;
            let problem: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(
                (status, &problem["errors"][0]["pointer"]),
                (400, &json!(format!("/{place}"))),
                "{body}: {answer}"
            );
        }
    }
    target.is_untouched().await;
}

/// A payload that is not one of the gateway's is no request: the function says so and lives on.
#[tokio::test]
async fn what_is_no_request_at_all_harms_nobody() {
    let target = Target::new().await;
    for endpoint in ENDPOINTS {
        let function = &target.functions[endpoint.function];
        for payload in [json!(null), json!([]), json!("x"), json!({}), json!({ "version": "2.0", "headers": [] })] {
            let invocation = function.invoke(payload.clone()).await;
            let is_refusal = match &invocation {
                Invocation::Failed(_) => true,
                Invocation::Answered(answer) => answer["statusCode"].as_u64().is_some_and(|status| status >= 400),
                Invocation::Died | Invocation::Stopped => false,
            };
            assert!(is_refusal, "{}: {invocation:?} to {payload}", endpoint.function);
        }
        let mut event = endpoint.good_event();
        event["headers"]["x-correlation-id"] = json!("é");
        target.refused(&endpoint, event, &[400]).await;
    }
    target.is_untouched().await;
}
