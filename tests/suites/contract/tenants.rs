//! `bindery tenants`: an organization is shut out of the deployed stack, and admitted again, without a deployment.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::bulks::BULKS;
use tests::operator;
use tests::stack::{ACCOUNT, Tenant, parts};
use tests::test_env::eventually;

/// The time within which a change takes effect (promised in infra/RUNBOOK.md).
const MINUTE: Duration = Duration::from_secs(60);

/// Runs `bindery --json --yes tenants` with these arguments, and returns the organizations that are shut out.
async fn tenants(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = operator::run(&[&["--json", "--yes", "tenants"], arguments].concat(), "").await?;
    Ok(serde_json::from_str(&output).unwrap())
}

#[tokio::test]
async fn an_organization_is_shut_out_within_a_minute_and_what_it_had_accepted_is_done() {
    let tenant = Tenant::new().await;
    let created = tenant.request(Method::POST, BULKS, &tenant.token(ACCOUNT));
    let (status, _, bulk) =
        parts(created.json(&json!({ "program_id": 1, "external_ids": ["a"] })).send().await.unwrap()).await;
    assert_eq!(status, 201, "{bulk}");
    let of_bulk = format!("{BULKS}/{}", bulk["id"].as_str().unwrap());
    assert_eq!(tenant.get(&of_bulk).await.0, 200);
    let start = tenant.request(Method::POST, &format!("{of_bulk}/start"), &tenant.token(ACCOUNT)).send().await;
    assert_eq!(start.unwrap().status(), 202);

    let denied = tenants(&["deny", &tenant.org, "--reason", "a test"]).await.unwrap();
    let mine = denied.iter().find(|row| row["tenant"] == tenant.org).unwrap();
    assert_eq!(mine["reason"], "a test");
    let shut_out = eventually("403", MINUTE, async || {
        let (status, body) = tenant.get(&of_bulk).await;
        (status == 403).then_some(body)
    });
    assert_eq!(shut_out.await["type"], "urn:bindery:problem:organization-denied");
    // The card and the bulk's end.
    tenant.events(2).await;

    let allowed = tenants(&["allow", &tenant.org]).await.unwrap();
    assert!(allowed.iter().all(|row| row["tenant"] != tenant.org), "{allowed:?}");
    let admitted = eventually("200", MINUTE, async || {
        let (status, body) = tenant.get(&of_bulk).await;
        (status == 200).then_some(body)
    });
    assert_eq!(admitted.await["status"], "COMPLETED");
}

#[tokio::test]
async fn only_what_an_operator_means_is_changed() {
    let org = Tenant::new().await.org;
    let refused = tenants(&["allow", &org]).await.unwrap_err();
    assert!(refused.contains("is not shut out"), "{refused}");
    for reason in ["", "a\nb", &"r".repeat(201)] {
        let refused = tenants(&["deny", &org, "--reason", reason]).await.unwrap_err();
        assert!(refused.contains("so nothing was changed"), "{refused}");
    }
    let refused = operator::run(&["tenants", "deny", &org, "--reason", "r"], "").await.unwrap_err();
    assert!(refused.contains("needs a confirmation"), "{refused}");
    for other in ["", "TN-7", &org.to_lowercase(), &format!("{org}#CARD")] {
        assert!(tenants(&["deny", other, "--reason", "r"]).await.is_err(), "{other}");
    }
    let denied = tenants(&["denied"]).await.unwrap();
    assert!(denied.iter().all(|row| row["tenant"] != org.as_str()), "{denied:?}");
}
